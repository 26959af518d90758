package service

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/restore"
	"github.com/pgcourier/pgcourier/internal/storage"
	"github.com/pgcourier/pgcourier/internal/storage/destinations"
)

// Only a known fault of an export is announced. All other faults may be the verifier's own, or
// temporary.
func TestAVerificationThatCouldNotBeMadeIsNotAFinding(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		err  error
		want codes.Code
	}{
		{nil, ""},
		{&destinations.NoExportError{ID: "acme/nightly"}, codes.ExportMissing},
		{restore.ErrUnverified, codes.ExportDamaged},
		{storage.ErrDamaged, codes.ExportDamaged},
		{storage.ErrForeign, codes.ExportDamaged},
		{storage.ErrVersion, ""},                                    // of a newer worker
		{fmt.Errorf("%w: %w", errUnlisted, storage.ErrDamaged), ""}, // the index is damaged, not the export
		{fmt.Errorf("%w: %w", errUnlisted, storage.ErrNotFound), ""},
		{&restore.RejectedError{Stderr: "unknown"}, ""},
		{restore.ErrScratch, ""},
		{restore.ErrTimeout, ""},
		{context.DeadlineExceeded, ""},
		{syscall.EAGAIN, ""},
		{storage.ErrNotFound, codes.ExportDamaged}, // of a part: the manifest exists
		{&restore.RejectedError{SQLState: "42704"}, codes.RestoreRejected},
		{storage.ErrSealed, ""},
		{storage.ErrUnavailable, ""},
		{storage.ErrRefused, ""},
		{restore.ErrIdentity, ""},
		{restore.ErrTarget, ""},
		{errors.New("anything else"), ""},
	} {
		err := row.err
		if err != nil {
			err = fmt.Errorf("file: %w", err)
		}
		var got codes.Code
		if f := failure(events.Completed{}, events.Location{Destination: "file"}, err); f != nil {
			got = f.Code
		}
		if got != row.want {
			t.Errorf("%v: %q, want %q", row.err, got, row.want)
		}
	}
}
