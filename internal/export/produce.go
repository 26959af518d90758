package export

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"runtime/debug"
	"time"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/failpoint"
	"github.com/pgcourier/pgcourier/internal/seal"
)

// progressEvery is the pause between two reports of progress.
const progressEvery = time.Second

// attempted is the result of an attempt.
type attempted struct {
	artifact  *Artifact
	announced *Outcome // the request was completed before, and the ledger had lost it
	object    string   // under which the attempt may have stored something; empty: it has stored nothing
	taken     bool     // an export lay under the attempt's key
	err       error
}

// attempt makes the artifact, unless the request was completed before. It looks for that before a second
// attempt, and when it finds an export in the place of its own.
func (e *Exporter) attempt(ctx context.Context, req Request, claim Claim, g Group) (a attempted) {
	if claim.Token.Attempt > 1 && req.Refusal == nil {
		if a.announced, a.err = e.announced(ctx, req.ID); a.announced != nil || a.err != nil {
			return a
		}
	}
	a.artifact, a.err = e.produce(ctx, req, claim, g, &a.object)
	if errors.Is(a.err, ErrStored) {
		a.object, a.taken = "", true
		var unread error
		a.announced, unread = e.announced(ctx, req.ID)
		a.err = errors.Join(a.err, unread)
	}
	return a
}

// produce makes the artifact: it looks up the project, dumps, seals and stores. It sets object once it
// begins to store. A panic is a failure.
func (e *Exporter) produce(ctx context.Context, req Request, claim Claim, g Group, object *string) (a *Artifact, err error) {
	defer func() {
		if p := recover(); p != nil {
			a, err = nil, AsFault(fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
		}
	}()
	if req.Refusal != nil {
		return nil, req.Refusal
	}
	schemas, project, err := e.lookUp(ctx, req)
	if err != nil {
		return nil, err
	}
	recipients, err := e.recipients(project, req)
	if err != nil {
		return nil, err
	}
	level, err := e.level(project, req)
	if err != nil {
		return nil, err
	}
	failpoint.Hit(failpoint.AfterLookup)
	dumper, leave := g.join(ctx, e, req, project)
	defer leave()
	dump, err := dumper.Open(ctx, DumpJob{
		ID: req.ID, Attempt: claim.Token.Attempt, Project: project, Schemas: schemas, Format: req.Format, Jobs: req.Jobs,
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, dump.Close()) }()
	failpoint.Hit(failpoint.AfterOpen)
	e.Observer.Started(ctx, Started{
		ID: req.ID, Attempt: claim.Token.Attempt, StartedAt: claim.Started,
		Schemas: schemas, Format: req.Format, Compression: req.Compression, Level: level, Info: dump.Info(), Trace: req.Trace,
	})
	return e.store(ctx, req, claim, sealing{schemas, recipients, level}, dump, object)
}

func (e *Exporter) lookUp(ctx context.Context, req Request) ([]string, Project, error) {
	var p Project
	err := Retry(ctx, e.wait("the control plane"), func(ctx context.Context) (err error) {
		p, err = e.Projects.Lookup(ctx, req.Project)
		return err
	})
	if err != nil {
		return nil, Project{}, err
	}
	schemas, err := Select(p, req.Schemas)
	return schemas, p, err
}

// sealing holds the looked-up values of an export.
type sealing struct {
	schemas    []string
	recipients []seal.Recipient
	level      seal.Level // empty: no compression
}

// level returns the level of the compression: the request's, else the project's, else the worker's.
// Without a compression it is empty. A level of the project's that does not exist is a Fault.
func (e *Exporter) level(p Project, req Request) (seal.Level, error) {
	switch p.Level {
	case "", seal.Fast, seal.Default, seal.Best:
	default:
		return "", &Fault{
			Code: codes.InternalError, Message: "the control plane's entry of this project names a compression_level that is none of fast, default and best",
		}
	}
	if req.Compression == seal.Plain {
		return "", nil
	}
	return cmp.Or(req.Level, p.Level, e.Seal.Level, seal.Default), nil
}

// store runs the one pull-driven stream: the store reads the seal, which reads the dump.
func (e *Exporter) store(ctx context.Context, req Request, claim Claim, to sealing, dump Dump, object *string) (*Artifact, error) {
	inspector, err := e.Inspect(req.Format)
	if err != nil {
		return nil, AsFault(fmt.Errorf("inspect the dump: %w", err))
	}
	inspected := &inspection{inspector: inspector, verify: func(c Contents) error {
		rows, err := dump.Rows(ctx)
		if err != nil {
			return err
		}
		return compare(c.Tables, rows)
	}}
	opts := e.Seal
	opts.Compression, opts.Level, opts.Inspector, opts.Recipients = req.Compression, to.level, inspected, seal.Keys(to.recipients)
	stream, err := seal.New(dump, opts)
	if err != nil {
		return nil, AsFault(fmt.Errorf("open seal: %w", err))
	}
	defer func() { _ = stream.Close() }()
	defer e.reportProgress(ctx, req.ID, claim.Token.Attempt, dump.Info(), stream, inspector)()

	source := &firstError{r: stream}
	artifact := &Artifact{
		Format: req.Format, Compression: req.Compression, Level: to.level, Encryption: encryption(len(to.recipients) > 0), Schemas: to.schemas,
		Recipients:    seal.Fingerprints(to.recipients),
		ServerVersion: dump.Info().ServerVersion, PgDumpVersion: dump.Info().PgDumpVersion, Warnings: dump.Info().Warnings,
		Needs: dump.Info().Needs,
	}
	key, begun := e.key(req, claim.Token.Attempt), time.Now()
	*object = key
	var unsigned error
	copies, err := e.Store.Put(ctx, key, source, func() Manifest {
		s := stream.Summary()
		artifact.SizeBytes, artifact.StoredBytes, artifact.SHA256 = s.PlainBytes, s.StoredBytes, s.SHA256
		artifact.CRC32C = s.CRC32C
		artifact.Tables, artifact.Rows = len(inspected.contents.Tables), inspected.contents.Rows()
		out := completed(req, claim, artifact, time.Since(begun))
		artifact.Receipt, unsigned = e.receipt(key, out)
		return Manifest{Version: 1, Key: key, Outcome: out, To: opts.Recipients}
	})
	failpoint.Hit(failpoint.AfterStore)
	if err = errors.Join(source.err, err); err != nil { // the dump's own failure comes first
		return nil, sealFault(err)
	}
	if unsigned != nil { // the object was stored without a receipt
		return nil, errors.Join(AsFault(unsigned), e.Store.Delete(ctx, key))
	}
	artifact.Copies = copies
	return artifact, nil
}

// reportProgress reports the progress of the stream until the returned function is called.
func (e *Exporter) reportProgress(ctx context.Context, id ID, attempt int, info DumpInfo, s *seal.Stream, i Inspector) (stop func()) {
	ctx, end := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for sleep(ctx, progressEvery) == nil {
			p := s.Progress()
			e.Observer.Progress(ctx, Progress{
				ID: id, Attempt: attempt, SizeBytes: p.PlainBytes, StoredBytes: p.StoredBytes,
				EstimatedBytes: info.EstimatedBytes, Table: i.Table().String(), At: time.Now().UTC(),
			})
		}
	}()
	return func() { end(); <-done }
}

// key returns the name of the attempt's object. Each attempt has a different one.
func (e *Exporter) key(req Request, attempt int) string {
	return objectKey(req.ID, attempt, req.StoragePath, req.Format, req.Compression, encryption(req.encrypted))
}

// ObjectKey returns the name of the object of a completed request. storagePath is the request's.
func (o Outcome) ObjectKey(storagePath string) string {
	return objectKey(o.ID, o.Attempt, storagePath, o.Artifact.Format, o.Artifact.Compression, o.Artifact.Encryption)
}

func objectKey(id ID, attempt int, storagePath string, f Format, c seal.Compression, enc seal.Encryption) string {
	return path.Join(id.Project, storagePath, fmt.Sprintf("%s.%d%s%s", id.Request, attempt, f.Extension(), seal.Extension(c, enc)))
}

func encryption(encrypted bool) seal.Encryption {
	if encrypted {
		return seal.Age
	}
	return seal.Unencrypted
}
