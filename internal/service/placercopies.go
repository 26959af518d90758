package service

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/restore"
	"github.com/pgcourier/pgcourier/internal/restore/operation"
	"github.com/pgcourier/pgcourier/internal/storage"
	"github.com/pgcourier/pgcourier/internal/storage/destinations"
)

// withCopy calls use with the first copy of a job's export that can be read and is the one that the ledger
// has. If use finds the copy damaged or gone, it has changed nothing, and is called with the next one.
// passed are remarks about the copies before it. If none can be used, the error is that of a copy that could
// not be read, if there is one: that copy may be whole.
func (p *placer) withCopy(ctx context.Context, j operation.Job, use func(restore.Export, restore.Placement) error) (passed []string, err error) {
	to, err := p.placement(j)
	if err != nil {
		return nil, err
	}
	copies, unread, err := p.reader.Find(ctx, j.Export.ID.String())
	if err != nil {
		return nil, err
	}
	if unread != nil {
		p.log.WarnContext(ctx, "destinations cannot be asked for an export to restore", "project_id", j.ID.Project, "restore_id", j.ID.Request, "error", unread)
	}
	unknown := unread
	var fault error = &destinations.NoExportError{ID: j.Export.ID.String()}
	for _, c := range copies {
		if c.Attempt != j.Export.Attempt {
			continue
		}
		x, err := p.open(ctx, c, *j.Export)
		if err == nil {
			if err = use(x, to); !ofCopy(err) || ctx.Err() != nil {
				return passed, err
			}
		}
		if ctx.Err() != nil {
			return nil, err
		}
		p.log.WarnContext(ctx, "a copy of an export cannot be used for a restore, another one is tried", "project_id", j.ID.Project, "restore_id", j.ID.Request,
			"destination", c.Destination.Name, "error", err)
		if fault = err; unknown == nil && !ofCopy(err) {
			unknown = err
		}
		passed = append(passed, "the copy at "+c.Destination.Name+" could not be used")
	}
	if unknown != nil {
		return nil, unknown
	}
	return nil, fault
}

// ofCopy reports whether another copy of the export may not have the fault.
func ofCopy(err error) bool {
	if errors.Is(err, restore.ErrUnknown) {
		return false
	}
	for _, fault := range []error{restore.ErrUnverified, storage.ErrDamaged, storage.ErrForeign, storage.ErrNotFound, destinations.ErrNoExport} {
		if errors.Is(err, fault) {
			return true
		}
	}
	return false
}

// open opens a copy of an export, if it is the one that the ledger has.
func (p *placer) open(ctx context.Context, c destinations.Copy, of export.Outcome) (restore.Export, error) {
	doc, err := c.Manifest(ctx)
	if err != nil {
		return restore.Export{}, err
	}
	if a := doc.Manifest.Artifact; a == nil || a.SHA256 != of.Artifact.SHA256 {
		return restore.Export{}, fmt.Errorf("%w: the manifest is not that of the ledger", restore.ErrUnverified)
	}
	return restore.Export{
		Manifest: doc.Manifest, Identities: p.reader.Identities,
		Open: func(ctx context.Context) (io.ReadCloser, error) { return c.Destination.Open(ctx, c.Key) },
	}, nil
}
