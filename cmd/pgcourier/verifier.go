package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/handlers"
	"github.com/pgcourier/pgcourier/internal/broker/consumer"
	"github.com/pgcourier/pgcourier/internal/broker/server"
	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/restore"
	"github.com/pgcourier/pgcourier/internal/storage"
	"github.com/pgcourier/pgcourier/internal/storage/destinations"
)

// verifier is the role that restores completed exports. It has destinations of its own,
// opened with identities: a worker of the same process must not hold those.
type verifier struct {
	reader   *destinations.Reader
	config   config.Config
	cells    *cells // nil: none
	restorer *restore.Restorer
	ledger   *ledger.Ledger // nil: none
	log      *slog.Logger

	scratch sync.Mutex       // held while the server is started
	server  *restore.Scratch // nil: not started yet
	stop    func() error
}

var _ handlers.Verifier = (*verifier)(nil)

// openVerifier reads the identities and opens the storage. The scratch server is started
// when it is first needed. The caller closes the verifier.
func openVerifier(ctx context.Context, c config.Config, l *ledger.Ledger, log *slog.Logger) (*verifier, error) {
	if err := checkClients(ctx, c, log, restoreTools...); err != nil {
		return nil, err
	}
	ids, err := destinations.ReadIdentities(c.AgeIdentityFiles)
	if err != nil {
		return nil, err
	}
	urls, err := c.StorageURLs()
	if err != nil {
		return nil, err
	}
	set, err := destinations.Open(urls, destinations.Options{TelegramToken: c.TelegramToken, AllowPlaintext: true, Identities: ids, Log: log})
	if err != nil {
		return nil, err
	}
	in, err := openCells(ctx, c, log)
	if err != nil {
		return nil, errors.Join(err, set.Close())
	}
	rc := restore.Config{Logger: log, SpoolDir: c.Spool()}
	if in != nil {
		rc.Confine = in.tool
	}
	if c.PGBinDir != "" {
		rc.BinDirs = []string{c.PGBinDir}
	}
	return &verifier{
		cells: in, reader: destinations.NewReader(set, ids), config: c, restorer: restore.New(rc), ledger: l, log: log,
		stop: func() error { return nil },
	}, nil
}

func (v *verifier) close() error { return errors.Join(v.stop(), v.reader.Set.Close()) }

// on gives the scratch server.
func (v *verifier) on(ctx context.Context) (*restore.Scratch, error) {
	v.scratch.Lock()
	defer v.scratch.Unlock()
	if v.server != nil {
		return v.server, nil
	}
	server, stop, err := openScratch(ctx, v.config.VerifyScratchURL, v.cells)
	if err != nil {
		return nil, err
	}
	v.server, v.stop = &server, stop
	return v.server, nil
}

// Verify implements handlers.Verifier: every copy is read and held against the event, whose
// hash the broker keeps, and the first is restored.
func (v *verifier) Verify(ctx context.Context, c events.Completed) (*events.Verified, *events.VerificationFailed, error) {
	begun := time.Now()
	if gone, err := v.removed(ctx, c); gone || err != nil {
		return nil, nil, err
	}
	out := events.Verified{
		RequestID: c.RequestID, ProjectID: c.ProjectID, Attempt: c.Attempt, SHA256: c.SHA256, StoredBytes: c.StoredBytes,
		StartedAt: begun, Trace: c.Trace,
	}
	for _, at := range c.Storage {
		if at.Status != events.LocationStored {
			continue
		}
		err := v.one(ctx, c, at, &out)
		if failed := failure(c, at, err); failed != nil {
			if gone, gerr := v.removed(ctx, c); gone || gerr != nil { // meanwhile
				return nil, nil, gerr
			}
			v.log.WarnContext(ctx, "a copy does not verify", "destination", at.Destination, "error", err)
			// What the scratch server refuses may be whole.
			if failed.Code != codes.RestoreRejected {
				v.note(ctx, c, true)
			}
			failed.StartedAt, failed.FinishedAt, failed.DurationMS = begun, time.Now(), time.Since(begun).Milliseconds()
			return nil, failed, nil
		}
		if err != nil {
			return nil, nil, err
		}
		out.Copies = append(out.Copies, events.VerifiedCopy{Destination: at.Destination, URI: at.URI})
	}
	v.note(ctx, c, false)
	out.FinishedAt, out.DurationMS = time.Now(), time.Since(begun).Milliseconds()
	return &out, nil, nil
}

// note keeps the finding for retention, which prefers what was verified. Without it an
// export counts as not verified: that is no reason to verify it once more.
func (v *verifier) note(ctx context.Context, c events.Completed, damaged bool) {
	if v.ledger == nil {
		return
	}
	id := export.ID{Project: c.ProjectID, Request: c.RequestID}
	if err := v.ledger.NoteVerification(ctx, id, damaged); err != nil {
		v.log.WarnContext(ctx, "verification not noted in the ledger", "project_id", id.Project, "request_id", id.Request, "error", err)
	}
}

// removed says whether the export was deleted on purpose.
func (v *verifier) removed(ctx context.Context, c events.Completed) (bool, error) {
	if v.ledger == nil {
		return false, nil
	}
	entries, err := v.ledger.Get(ctx, c.RequestID, c.ProjectID)
	return err == nil && slices.ContainsFunc(entries, func(e ledger.Entry) bool { return e.RemovedAt != nil }), err
}

// one verifies one copy; the first of an export is restored too.
func (v *verifier) one(ctx context.Context, c events.Completed, at events.Location, out *events.Verified) error {
	d := v.reader.Set.Named(at.Destination)
	if d == nil {
		return fmt.Errorf("the destination %s is not one of this verifier's", at.Destination)
	}
	there, err := v.locate(ctx, d, c)
	if err != nil {
		return err
	}
	x, err := v.export(ctx, there)
	if err != nil {
		return err
	}
	if a := x.Manifest.Artifact; a == nil || a.SHA256 != c.SHA256 || a.Rows != c.Rows || int64(a.Tables) != c.Tables || a.SizeBytes != c.SizeBytes {
		return fmt.Errorf("%w: the manifest is not that of the event", restore.ErrUnverified)
	}
	if len(out.Copies) > 0 {
		found, err := x.Verify(ctx, nil)
		out.CheckMS += found.Took.Milliseconds()
		return err
	}
	server, err := v.on(ctx)
	if err != nil {
		return err
	}
	r, err := v.restorer.Rehearse(ctx, x, *server, nil)
	if err != nil {
		return err
	}
	out.DumpSHA256, out.SizeBytes = r.Evidence.DumpSHA256, r.Evidence.SizeBytes
	out.Tables, out.Rows = int64(len(r.Evidence.Contents.Tables)), r.Evidence.Contents.Rows()
	out.ServerVersion, out.CheckMS, out.RestoreMS = r.ServerVersion, r.Evidence.Took.Milliseconds(), r.Took.Milliseconds()
	return nil
}

// export opens one copy for reading.
func (v *verifier) export(ctx context.Context, c destinations.Copy) (restore.Export, error) {
	doc, err := c.Manifest(ctx)
	if err != nil {
		return restore.Export{}, err
	}
	return restore.Export{
		Manifest: doc.Manifest, Identities: v.reader.Identities,
		Open: func(ctx context.Context) (io.ReadCloser, error) { return c.Destination.Open(ctx, c.Key) },
	}, nil
}

var errMissing = errors.New("the destination does not hold the export")

// locate finds the object of the event's own attempt.
func (v *verifier) locate(ctx context.Context, d *destinations.Destination, c events.Completed) (destinations.Copy, error) {
	want := export.ID{Project: c.ProjectID, Request: c.RequestID}
	for key, err := range d.Keys(ctx) {
		if err != nil {
			return destinations.Copy{}, err
		}
		if id, attempt, ok := destinations.ParseKey(key); ok && id == want && attempt == c.Attempt {
			return destinations.Copy{Destination: d, Key: key, ID: id, Attempt: attempt}, nil
		}
	}
	return destinations.Copy{}, errMissing
}

// failure says what an error means for the export; nil: nothing, the verification could not
// be made. The words are ours: others may quote rows.
func failure(c events.Completed, at events.Location, err error) *events.VerificationFailed {
	f := &events.VerificationFailed{
		RequestID: c.RequestID, ProjectID: c.ProjectID, Attempt: c.Attempt, Destination: at.Destination, SHA256: c.SHA256, Trace: c.Trace,
	}
	var rejected *restore.RejectedError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errMissing), errors.Is(err, destinations.ErrNoExport):
		f.Code, f.Message = codes.ExportMissing, "the destination does not hold the export"
	case errors.Is(err, storage.ErrSealed), errors.Is(err, storage.ErrUnavailable), errors.Is(err, restore.ErrIdentity):
		return nil
	case errors.Is(err, restore.ErrUnverified), errors.Is(err, storage.ErrDamaged), errors.Is(err, storage.ErrForeign),
		errors.Is(err, storage.ErrVersion), errors.Is(err, storage.ErrNotFound):
		f.Code, f.Message = codes.ExportDamaged, "what is stored is not what was promised"
	case errors.As(err, &rejected):
		f.Code, f.Message = codes.RestoreRejected, "the scratch server refused the export, SQLSTATE "+rejected.SQLState
	default:
		return nil
	}
	return f
}

// openVerifier opens what the role verifier needs, if it is to run.
func (w *worker) openVerifier(ctx context.Context) error {
	if !slices.Contains(w.config.Roles, config.RoleVerifier) {
		return nil
	}
	if w.config.DatabaseURL != "" { // it may run without: then it knows nothing of removals
		if err := w.openLedger(ctx); err != nil {
			return err
		}
	}
	var err error
	if w.checker, err = openVerifier(ctx, w.config, w.ledger, w.log); err == nil {
		w.closers = append(w.closers, w.checker.close)
	}
	return err
}

// verifications is the verifier's own subscription: one export at a time, because a restore
// takes a server's whole attention.
func (w *worker) verifications() (*consumer.Subscriber, error) {
	c := w.config
	return consumer.New(consumer.Config{
		JetStream: w.logins[server.UserVerifier].js, Bind: bindings, Slots: 1, DrainTimeout: c.DrainTimeout, Logger: w.log,
		Backoff: consumer.Exponential(c.RetryBackoff, 64*c.RetryBackoff, nil),
	})
}
