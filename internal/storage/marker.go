package storage

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	strict "github.com/go-json-experiment/json"
)

// MarkerName is the name of the marker in the root of a destination. No key can have it.
const MarkerName = ".pgcourier-storage.json"

const (
	markerVersion = 1
	// maxMarker bounds a marker in bytes.
	maxMarker = 4096
)

// ErrNotMarked says that the place of a storage is empty or missing: the storage is elsewhere, for
// instance on a file system that is not mounted.
var ErrNotMarked = fmt.Errorf("%w: the storage is not there", ErrUnavailable)

// ErrOtherStorage says that another storage lies at the place.
var ErrOtherStorage = fmt.Errorf("%w: another storage lies there", ErrRefused)

// Marker is a small document in the root of a destination. It is made once, and distinguishes the
// storage from every other that may later lie at the same place.
type Marker struct {
	Version int    `json:"version"` // 1
	Storage string `json:"storage"` // a random name
	// MarkedAt is when the storage was marked, by the clock of that machine.
	MarkedAt time.Time `json:"marked_at"`
}

// NewMarker returns the marker of a new storage.
func NewMarker(now time.Time) Marker { return MarkerOf(strings.ToLower(rand.Text()), now) }

// MarkerOf returns a marker for the storage id, which lost its own.
func MarkerOf(id string, now time.Time) Marker {
	return Marker{Version: markerVersion, Storage: id, MarkedAt: now.UTC().Truncate(time.Second)}
}

// Name returns the storage's name for people.
func (m Marker) Name() string { return cmp.Or(m.Storage, "of its chat, with an empty index") }

// Encode returns the marker as it is stored.
func (m Marker) Encode() ([]byte, error) {
	b, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode the storage's marker: %w", err)
	}
	return append(b, '\n'), nil
}

// DecodeMarker reads a stored marker. ErrVersion: it is of a later version. ErrDamaged: anything
// else.
func DecodeMarker(b []byte) (Marker, error) {
	var m Marker
	if len(b) > maxMarker {
		return m, fmt.Errorf("%w: the storage's marker is larger than %d bytes", ErrDamaged, maxMarker)
	}
	if err := strict.Unmarshal(b, &m); err != nil {
		return Marker{}, fmt.Errorf("%w: the storage's marker: %w", ErrDamaged, err)
	}
	if m.Version > markerVersion {
		return Marker{}, fmt.Errorf("%w: the storage's marker has version %d", ErrVersion, m.Version)
	}
	if m.Version < 1 || !plainID(m.Storage) {
		return Marker{}, fmt.Errorf("%w: the storage's marker has no name", ErrDamaged)
	}
	return m, nil
}

// plainID accepts what NewMarker makes: lower-case letters and digits.
func plainID(s string) bool {
	const shortest, longest = 16, 64
	if len(s) < shortest || len(s) > longest {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789") == ""
}

// Marked is a Driver with a destination that keeps a marker.
//
//   - Marker and Mark are safe for concurrent use by several processes.
//   - After Expect a driver MUST NOT write, read, list or delete anything where a look at the
//     marker costs nothing and the marker is another one or missing.
type Marked interface {
	Driver

	// Marker reads the marker. ErrNotFound: there is none, or no place for one. It changes
	// nothing.
	Marker(ctx context.Context) (Marker, error)

	// Mark makes the place and writes the marker. ErrExists: one is there, and stays.
	Mark(ctx context.Context, m Marker) error

	// Expect tells the driver which storage it is for. ErrNotMarked and ErrOtherStorage are
	// its errors from then on.
	Expect(id string)

	// Place describes what the storage lies on, for people: "ext4 on /dev/sdb1 at /srv". Empty:
	// nothing of its own that could be missing. It changes nothing.
	Place() string

	// Replaceable reports whether an empty place can be taken for the same storage: a bucket
	// is never unmounted, and its own rules may have deleted everything in it.
	Replaceable() bool
}

// ExpectMarker returns nil if m, read with err, is the marker of the storage id.
func ExpectMarker(m Marker, err error, id string) error {
	switch {
	case errors.Is(err, ErrNotFound):
		return fmt.Errorf("%w: it has no marker", ErrNotMarked)
	case err != nil:
		return err
	case m.Storage != id:
		return fmt.Errorf("%w: its marker is %s, expected is %s", ErrOtherStorage, m.Storage, id)
	}
	return nil
}
