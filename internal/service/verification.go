package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/handlers"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/handover/receipt"
	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/restore"
	"github.com/pgcourier/pgcourier/internal/storage"
	"github.com/pgcourier/pgcourier/internal/storage/destinations"
)

var _ handlers.Verifier = (*Verifier)(nil)

// Verify implements handlers.Verifier. It reads every copy, compares it with the event's hash, and
// restores the first one that is whole. A copy is missing or damaged if two readings find that. The
// first such copy is the result.
func (v *Verifier) Verify(ctx context.Context, c events.Completed) (*events.Verified, *events.VerificationFailed, error) {
	select {
	case v.turn <- struct{}{}:
		defer func() { <-v.turn }()
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	begun := time.Now()
	if gone, err := v.removed(ctx, c); gone || err != nil {
		return nil, nil, err
	}
	out := finding{Verified: events.Verified{
		RequestID: c.RequestID, ProjectID: c.ProjectID, Attempt: c.Attempt, SHA256: c.SHA256, StoredBytes: c.StoredBytes,
		StartedAt: begun, Trace: c.Trace,
	}}
	for _, at := range c.Storage {
		if at.Status != events.LocationStored {
			continue
		}
		err := v.readCopy(ctx, c, at, &out)
		if err == nil {
			continue
		}
		if out.failed == nil || ctx.Err() != nil {
			return nil, nil, err
		}
		// What the other copies are is told, and what this one is stays unknown.
		v.config.Log.WarnContext(ctx, "a copy was not verified", "destination", at.Destination, "error", err)
	}
	if out.failed != nil {
		if gone, err := v.removed(ctx, c); gone || err != nil { // meanwhile
			return nil, nil, err
		}
	}
	v.note(ctx, c, out)
	if f := out.failed; f != nil {
		f.StartedAt, f.FinishedAt, f.DurationMS = begun, time.Now(), time.Since(begun).Milliseconds()
		return nil, f, nil
	}
	out.FinishedAt, out.DurationMS = time.Now(), time.Since(begun).Milliseconds()
	var err error
	out.Receipt, err = v.receipt(ctx, out)
	return &out.Verified, nil, err
}

// readCopy verifies one copy and adds what was found. The error means that it could not be verified.
func (v *Verifier) readCopy(ctx context.Context, c events.Completed, at events.Location, out *finding) error {
	there, err := v.verifyCopy(ctx, c, at, out)
	if f := failure(c, at, err); f != nil && f.Code != codes.RestoreRejected {
		// What is stored damaged stays damaged. A fault of memory or of the way to the storage does not.
		v.config.Log.WarnContext(ctx, "a copy does not verify, it is read once more", "destination", at.Destination, "error", err)
		there, err = v.verifyCopy(ctx, c, at, out)
	}
	failed := failure(c, at, err)
	switch {
	case failed != nil:
		v.config.Log.WarnContext(ctx, "a copy does not verify", "destination", at.Destination, "error", err)
		if out.failed == nil {
			out.failed = failed
		}
		out.rejected = out.rejected || failed.Code == codes.RestoreRejected
		out.doubtful = out.doubtful || !v.lost(ctx, at, failed.Code)
		return nil
	case err != nil:
		out.doubtful = true
		return err
	}
	out.read = append(out.read, there)
	out.Copies = append(out.Copies, events.VerifiedCopy{Destination: at.Destination, URI: at.URI})
	return nil
}

// lost reports whether a finding proves that nothing of use is left of a copy. What the scratch server
// rejects may be whole. What is missing may lie in another storage than the one that this verifier reads.
func (v *Verifier) lost(ctx context.Context, at events.Location, code codes.Code) bool {
	return code == codes.ExportDamaged || code == codes.ExportMissing && v.reader.Set.Named(at.Destination).Recognized(ctx)
}

// finding is the result of a verification so far.
type finding struct {
	events.Verified
	restored receipt.Counts             // tables and rows in the scratch database
	read     []destinations.Copy        // those that verify
	failed   *events.VerificationFailed // of the first copy that does not verify
	rejected bool                       // the scratch server refused the export
	doubtful bool                       // a copy does not verify and may be whole
}

// receipt signs a receipt of the verification and stores it beside each copy that was read.
func (v *Verifier) receipt(ctx context.Context, out finding) (*events.Receipt, error) {
	if v.config.Signer == nil || len(out.read) == 0 {
		return nil, nil //nolint:nilnil // no receipt is not an error
	}
	signed, err := v.signed(ctx, out, out.read)
	if err != nil {
		return nil, err
	}
	to := events.Receipt{SHA256: signed.SHA256, KeyID: signed.KeyID}
	for _, c := range out.read {
		uri, err := c.Destination.AddVerification(ctx, c.Key, signed.Envelope)
		switch {
		case err != nil: // a verifier may have no right to write there
			v.config.Log.WarnContext(ctx, "receipt of the verification not stored", "destination", c.Destination.Name, "key", c.Key, "error", err)
		case uri != "":
			to.Copies = append(to.Copies, events.StoredCopy{Destination: c.Destination.Name, URI: uri})
		}
	}
	if len(to.Copies) == 0 {
		return nil, nil //nolint:nilnil // no destination stored it
	}
	return &to, nil
}

// signed returns the receipt of a verification: the stored one of an earlier delivery of the same
// event, or a new one.
func (v *Verifier) signed(ctx context.Context, out finding, copies []destinations.Copy) (*export.Receipt, error) {
	for _, c := range copies {
		b, err := c.Destination.Receipt(ctx, c.Key, storage.Verification)
		if err != nil {
			continue // missing or unreadable: a new one is signed
		}
		if found, err := v.config.Signer.Recognize(b); err == nil {
			return found, nil
		}
	}
	return v.config.Signer.Verified(receipt.Verification{
		ID: export.ID{Project: out.ProjectID, Request: out.RequestID}, Key: copies[0].Key, Attempt: out.Attempt,
		SHA256: out.SHA256, DumpSHA256: out.DumpSHA256, StoredBytes: out.StoredBytes, SizeBytes: out.SizeBytes,
		Stream: receipt.Counts{Tables: out.Tables, Rows: out.Rows}, Restored: out.restored, Unchecked: out.Unchecked, ServerVersion: out.ServerVersion, StartedAt: out.StartedAt, FinishedAt: out.FinishedAt,
	})
}

// note records in the ledger what retention needs to know: one copy was restored, or none is left. What
// lies between is not recorded, because retention deletes what is damaged from every destination. If the
// record fails, the export counts as not verified; it is not verified again.
func (v *Verifier) note(ctx context.Context, c events.Completed, out finding) {
	lost := len(out.read) == 0 && out.failed != nil
	if v.config.Ledger == nil || out.rejected || lost && out.doubtful {
		return
	}
	id := export.ID{Project: c.ProjectID, Request: c.RequestID}
	if err := v.config.Ledger.NoteVerification(ctx, id, lost); err != nil {
		v.config.Log.WarnContext(ctx, "verification not noted in the ledger", "project_id", id.Project, "request_id", id.Request, "error", err)
	}
}

// removed reports whether the export was deleted on purpose.
func (v *Verifier) removed(ctx context.Context, c events.Completed) (bool, error) {
	if v.config.Ledger == nil {
		return false, nil
	}
	entries, err := v.config.Ledger.Get(ctx, c.RequestID, c.ProjectID)
	return err == nil && slices.ContainsFunc(entries, func(e ledger.Entry) bool { return e.RemovedAt != nil }), err
}

// verifyCopy verifies one copy. The first whole copy of an export is restored too.
func (v *Verifier) verifyCopy(ctx context.Context, c events.Completed, at events.Location, out *finding) (there destinations.Copy, err error) {
	d := v.reader.Set.Named(at.Destination)
	if d == nil {
		return there, fmt.Errorf("the destination %s is not configured in this verifier", at.Destination)
	}
	if there, err = locate(ctx, d, c); err != nil {
		return there, err
	}
	doc, err := there.Manifest(ctx)
	if err != nil {
		return there, err
	}
	x := restore.Export{
		Manifest: doc.Manifest, Identities: v.reader.Identities,
		Open: func(ctx context.Context) (io.ReadCloser, error) { return d.Open(ctx, there.Key) },
	}
	if a := x.Manifest.Artifact; a == nil || a.SHA256 != c.SHA256 || a.Rows != c.Rows || int64(a.Tables) != c.Tables || a.SizeBytes != c.SizeBytes {
		return there, fmt.Errorf("%w: the manifest is not that of the event", restore.ErrUnverified)
	}
	if len(out.Copies) > 0 || out.rejected {
		found, err := x.Verify(ctx, nil)
		out.CheckMS += found.Took.Milliseconds()
		return there, err
	}
	server, err := v.server.For(ctx, x.Manifest.Artifact.Tables)
	if err != nil {
		return there, err
	}
	r, err := v.restorer.Rehearse(ctx, x, server, nil)
	if err != nil {
		return there, err
	}
	out.DumpSHA256, out.SizeBytes = r.Evidence.DumpSHA256, r.Evidence.SizeBytes
	out.Tables, out.Rows = int64(len(r.Evidence.Contents.Tables)), r.Evidence.Contents.Rows()
	out.ServerVersion, out.CheckMS, out.RestoreMS = r.ServerVersion, r.Evidence.Took.Milliseconds(), r.Took.Milliseconds()
	out.Unchecked = int64(len(r.Unchecked))
	out.restored = receipt.Counts{Tables: out.Tables - int64(len(r.Uncounted)), Rows: out.Rows}
	for _, t := range r.Uncounted {
		out.restored.Rows -= r.Evidence.Contents.Tables[t]
	}
	if len(r.Unchecked) > 0 {
		v.config.Log.WarnContext(ctx, "part of an export could not be tried on the scratch server", "project_id", c.ProjectID,
			"request_id", c.RequestID, "unchecked", len(r.Unchecked), "first", r.Unchecked[:min(len(r.Unchecked), loggedUnchecked)])
	}
	return there, nil
}

// loggedUnchecked is how many statements that could not be tried are logged.
const loggedUnchecked = 20

// errUnlisted means that a destination could not be listed, which proves nothing about an export.
var errUnlisted = errors.New("the destination cannot be listed")

// locate finds the object of the event's own attempt.
func locate(ctx context.Context, d *destinations.Destination, c events.Completed) (destinations.Copy, error) {
	want := export.ID{Project: c.ProjectID, Request: c.RequestID}
	for key, err := range d.Keys(ctx) {
		if err != nil {
			return destinations.Copy{}, fmt.Errorf("%w: %w", errUnlisted, err)
		}
		if id, attempt, ok := destinations.ParseKey(key); ok && id == want && attempt == c.Attempt {
			return destinations.Copy{Destination: d, Key: key, ID: id, Attempt: attempt}, nil
		}
	}
	return destinations.Copy{}, &destinations.NoExportError{ID: want.String()}
}

// failure returns the event for an error of the export. It returns nil if the verification could not
// run. The message is a fixed text, because that of err may quote rows.
func failure(c events.Completed, at events.Location, err error) *events.VerificationFailed {
	f := &events.VerificationFailed{
		RequestID: c.RequestID, ProjectID: c.ProjectID, Attempt: c.Attempt, Destination: at.Destination, SHA256: c.SHA256, Trace: c.Trace,
	}
	var rejected *restore.RejectedError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, destinations.ErrNoExport):
		f.Code, f.Message = codes.ExportMissing, "the destination does not hold the export"
	case errors.Is(err, errUnlisted), errors.Is(err, storage.ErrSealed), errors.Is(err, storage.ErrUnavailable), errors.Is(err, restore.ErrIdentity):
		return nil
	case errors.Is(err, storage.ErrVersion): // this verifier is older than the worker
		return nil
	case errors.Is(err, restore.ErrUnverified), errors.Is(err, storage.ErrDamaged), errors.Is(err, storage.ErrForeign),
		errors.Is(err, storage.ErrNotFound):
		f.Code, f.Message = codes.ExportDamaged, "what is stored is not what was promised"
	case errors.As(err, &rejected) && rejected.SQLState != "":
		f.Code, f.Message = codes.RestoreRejected, "the scratch server refused the export, SQLSTATE "+rejected.SQLState
	default:
		return nil
	}
	return f
}
