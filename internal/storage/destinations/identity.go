package destinations

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path"
	"time"

	"github.com/pgcourier/pgcourier/internal/storage"
)

// Records is the ledger, as far as it remembers which storage lies at each place.
type Records interface {
	// StorageAt returns the name in the marker of the storage at a place, and the file system
	// that it lay on when that was noted. An empty name: it is not known.
	StorageAt(ctx context.Context, place string) (name, liesOn string, err error)
	// NoteStorage records the storage at a place unless one is recorded, and returns the
	// recorded one.
	NoteStorage(ctx context.Context, place, name, liesOn string) (recorded string, err error)
	// ReplaceStorage records that another storage lies at a place.
	ReplaceStorage(ctx context.Context, place, name, liesOn string) error
	// StoredAt lists keys of the newest exports that are recorded as stored at a destination.
	StoredAt(ctx context.Context, destination string, limit int) ([]string, error)
	// StoredUnder reports whether an export is recorded as stored with a URI that has one of these
	// beginnings.
	StoredUnder(ctx context.Context, beginnings []string) (bool, error)
}

// sample is how many exports are looked for where a storage has lost its marker.
const sample = 20

// Standing is what is found at a destination's place, compared with the records.
type Standing struct {
	Recorded string // the name of the storage that the ledger has there; "": none
	LiesOn   string // the file system that it lay on then
	LiesNow  string // the file system now
	Marker   storage.Marker
	Marked   bool // there is a marker
	// Expected and Held are how many exports the ledger has there, of a sample, and how many of
	// them are. They are looked for where there is no marker.
	Expected, Held int
}

// place is the address of a destination without what does not tell it from others.
func place(u *url.URL) string {
	switch u.Scheme {
	case "file":
		return "file://" + path.Clean(u.Path)
	case "s3":
		at := "s3://" + u.Host + path.Clean("/"+u.Path)
		if e, err := url.Parse(u.Query().Get("endpoint")); err == nil && e.Host != "" {
			at += " at " + e.Host + e.Path
		}
		return at
	}
	return ""
}

// Look compares what lies at the destination's place with the records, and changes nothing. ok is
// false for a destination without a marker: its address alone tells it from others.
func (d *Destination) Look(ctx context.Context, r Records) (s Standing, ok bool, err error) {
	if d.marked == nil {
		return Standing{}, false, nil
	}
	if s.Recorded, s.LiesOn, err = r.StorageAt(ctx, d.place); err != nil {
		return s, true, err
	}
	s.LiesNow = d.marked.Place()
	s.Marker, err = d.marked.Marker(ctx)
	if err == nil || !errors.Is(err, storage.ErrNotFound) {
		s.Marked = err == nil
		return s, true, asUnavailable(err)
	}
	keys, err := r.StoredAt(ctx, d.Name, sample)
	if err != nil {
		return s, true, err
	}
	s.Expected = len(keys)
	for _, key := range keys {
		switch _, err := d.Copy(ctx, key); {
		case err == nil:
			s.Held++
		case errors.Is(err, storage.ErrNotMarked): // no folder
			return s, true, nil
		case !errors.Is(err, storage.ErrNotFound):
			return s, true, err
		}
	}
	return s, true, nil
}

// Fault returns why what was found cannot be taken for the storage that the ledger has there: an
// error that wraps storage.ErrNotMarked or storage.ErrOtherStorage. nil: it is the one, or a new
// one.
func (d *Destination) Fault(s Standing) error {
	hint := "if the storage was moved or begun anew on purpose: pgcourier storage adopt " + d.Name
	switch {
	case s.Marked && s.Recorded != "" && s.Marker.Storage != s.Recorded:
		return fmt.Errorf("%w: the ledger knows the storage %s at this address, here is %s: "+
			"do several workers have folders of their own under one address? %s", storage.ErrOtherStorage, s.Recorded, s.Marker.Storage, hint)
	case s.Marked, d.marked.Replaceable():
		return nil
	case s.Recorded == "" && (s.Expected == 0 || s.Held > 0):
		return nil
	case s.Recorded != "" && s.Held > 0 && 4*s.Held >= 3*s.Expected:
		return nil // only the marker was lost, as by a copy without hidden files
	}
	why := fmt.Sprintf("it has no marker, and %d of the %d newest exports that the ledger has there", s.Held, s.Expected)
	if s.LiesOn != "" && s.LiesOn != s.LiesNow {
		why += "; when it was marked, it lay on " + s.LiesOn + ", which is not mounted now"
	} else {
		why += "; is its file system mounted?"
	}
	return fmt.Errorf("%w: %s; %s", storage.ErrNotMarked, why, hint)
}

// Bind tells the destination which storage the ledger has at its place, so that another one is
// never taken for it. A chat without its index is not taken for an empty one. Bind marks nothing, and needs
// no right to write.
func (d *Destination) Bind(ctx context.Context, r Records) error {
	if d.marked == nil {
		d.guardIndex(r)
		return nil
	}
	name, _, err := r.StorageAt(ctx, d.place)
	if err != nil || name == "" {
		return err
	}
	d.expect(name)
	return nil
}

// Claim is Bind for a process that stores. A place that no storage is known at is marked and
// recorded: a new one is empty, an existing one from before there were markers holds exports that
// the ledger knows. The error is Fault's.
func (d *Destination) Claim(ctx context.Context, r Records, log *slog.Logger) error {
	s, ok, err := d.Look(ctx, r)
	if s.Recorded != "" {
		d.expect(s.Recorded) // whatever comes of this, exports go nowhere else
	}
	if !ok {
		d.guardIndex(r)
		return nil
	}
	if err != nil {
		return err
	}
	if err := d.Fault(s); err != nil {
		return err
	}
	if !s.Marked {
		if missing := s.Expected - s.Held; missing > 0 {
			log.WarnContext(ctx, "exports that the ledger has at a destination are not there: has each worker a folder of its own?",
				"destination", d.Name, "missing", missing, "of", s.Expected)
		}
		if s.Marker, err = d.mark(ctx, s.Recorded); err != nil {
			return err
		}
		log.InfoContext(ctx, "storage marked", "destination", d.Name, "storage", s.Marker.Storage, "anew", s.Recorded != "")
	}
	recorded, err := r.NoteStorage(ctx, d.place, s.Marker.Storage, s.LiesNow)
	if err != nil {
		return err
	}
	s.Marked, s.Recorded = true, recorded
	if err := d.Fault(s); err != nil { // another process was faster, elsewhere
		return err
	}
	d.expect(recorded)
	return nil
}

// guardIndex lets a chat without a pinned index count as empty only while the ledger has no exports in it.
func (d *Destination) guardIndex(r Records) {
	d.GuardIndex(func(ctx context.Context) error {
		switch stored, err := r.StoredUnder(ctx, d.chats); {
		case err != nil:
			return asUnavailable(err)
		case stored:
			return fmt.Errorf("%w: nothing is pinned in the chat, and the ledger has exports there: pin the newest message with the file pgcourier-index.pgc again; "+
				"if that message is gone: pgcourier storage adopt %s", storage.ErrNoIndex, d.Name)
		}
		return nil
	})
}

// Adopt makes what lies at the destination's place its storage, whatever the ledger knew. In a chat
// without a pinned index it begins an empty one, and returns no marker.
func (d *Destination) Adopt(ctx context.Context, r Records) (storage.Marker, error) {
	if d.marked == nil {
		err := d.BeginIndex(ctx)
		if errors.Is(err, storage.ErrExists) {
			err = fmt.Errorf("%s: its index is pinned: there is nothing to adopt", d.Name)
		}
		return storage.Marker{}, err
	}
	m, err := d.marked.Marker(ctx)
	if errors.Is(err, storage.ErrNotFound) {
		m, err = d.mark(ctx, "")
	}
	if err != nil {
		return m, err
	}
	if err := r.ReplaceStorage(ctx, d.place, m.Storage, d.marked.Place()); err != nil {
		return m, err
	}
	d.expect(m.Storage)
	return m, nil
}

// mark writes a marker, of a new storage if name is empty, and returns the one that is there then.
func (d *Destination) mark(ctx context.Context, name string) (storage.Marker, error) {
	m := storage.NewMarker(time.Now())
	if name != "" {
		m = storage.MarkerOf(name, time.Now())
	}
	if err := d.marked.Mark(ctx, m); err != nil && !errors.Is(err, storage.ErrExists) {
		return m, asUnavailable(fmt.Errorf("mark the storage: %w", err))
	}
	m, err := d.marked.Marker(ctx)
	return m, asUnavailable(err)
}

func (d *Destination) expect(name string) {
	d.expected = name
	d.marked.Expect(name)
}

// Confirm looks whether the storage at the place is still the one of Bind or Claim.
func (d *Destination) Confirm(ctx context.Context) error {
	if d.marked == nil || d.expected == "" {
		return nil
	}
	m, err := d.marked.Marker(ctx)
	if d.marked.Replaceable() && errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	return storage.ExpectMarker(m, err, d.expected)
}

// Recognized reports whether a marker shows that the storage at the place is the one that the ledger has
// there. It is false where there is no marker, also in a bucket, which Confirm takes for the same storage.
func (d *Destination) Recognized(ctx context.Context) bool {
	if d.marked == nil || d.expected == "" {
		return false
	}
	m, err := d.marked.Marker(ctx)
	return storage.ExpectMarker(m, err, d.expected) == nil
}

// Bind binds each destination.
func (s Set) Bind(ctx context.Context, r Records) error {
	for _, d := range s {
		if err := d.Bind(ctx, r); err != nil {
			return fmt.Errorf("storage %s: %w", d.Name, err)
		}
	}
	return nil
}
