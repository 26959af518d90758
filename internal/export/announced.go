package export

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
)

// ErrStored says that Put has stored nothing, because a whole export lies under its key.
var ErrStored = errors.New("an export is stored under this key")

// Announcements is the broker's stream of outcomes.
type Announcements interface {
	// Completed returns the completed export that was announced for a request, and its key if the event
	// tells it. nil: none was announced.
	Completed(ctx context.Context, id ID) (*Manifest, error)
}

// Recorder is the part of the ledger that records announced exports.
type Recorder interface {
	// RecordAnnounced makes a recorded request completed as m says, and published, whatever the ledger
	// says about it. Every other attempt at the request has lost then. changed is false if the ledger
	// says the same already, or does not know the request.
	RecordAnnounced(ctx context.Context, m Manifest) (changed bool, err error)
}

// Announced finds completed exports that were announced and that the ledger has lost: it was restored
// to an older state, or failed over to a standby without its last commits. Their requests must neither
// run again nor fail, and their objects must not be deleted. A nil Announced finds none. It is safe for
// concurrent use.
type Announced struct {
	Stream Announcements
	Ledger Recorder
	Log    *slog.Logger
}

// Look returns the announced outcome of a completed request, once the ledger has it too; nil: none was
// announced.
func (a *Announced) Look(ctx context.Context, id ID) (*Outcome, error) {
	if a == nil {
		return nil, nil //nolint:nilnil // no outcome is an ordinary answer
	}
	m, err := a.Stream.Completed(ctx, id)
	if err != nil || m == nil {
		return nil, wrapLook(id, err)
	}
	changed, err := a.Ledger.RecordAnnounced(ctx, *m)
	if err != nil {
		return nil, wrapLook(id, err)
	}
	if changed {
		a.Log.WarnContext(ctx, "the ledger had lost a completed export, which is recorded again", "project_id", id.Project, "request_id", id.Request, "attempt", m.Attempt)
	}
	return &m.Outcome, nil
}

func wrapLook(id ID, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("look for an announced export of %s: %w", id, err)
}

// announced returns the announced outcome of a completed request that the ledger had lost; nil: there is
// none. While the broker is unreachable it waits.
func (e *Exporter) announced(ctx context.Context, id ID) (out *Outcome, err error) {
	err = Retry(ctx, e.wait("the broker's outcomes"), func(ctx context.Context) (err error) {
		out, err = e.Announced.Look(ctx, id)
		return err
	})
	if err != nil {
		return nil, AsFault(Interruption(ctx, err))
	}
	return out, nil
}
