package storage_test

import (
	"errors"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/internal/storage"
)

func TestAMarkerIsReadAsItWasWritten(t *testing.T) {
	t.Parallel()
	m := storage.NewMarker(time.Now())
	b, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := storage.DecodeMarker(b); err != nil || got != m {
		t.Errorf("%+v, %v; want %+v", got, err, m)
	}
	if other := storage.NewMarker(time.Now()); other.Storage == m.Storage {
		t.Error("two storages have one name")
	}
	for text, want := range map[string]error{
		`{"version":2,"storage":"aaaaaaaaaaaaaaaaaaaa","later":1}`: storage.ErrVersion,
		`{"version":1,"storage":"short"}`:                          storage.ErrDamaged,
		`{"version":1,"storage":"AAAAAAAAAAAAAAAAAAAA/.."}`:        storage.ErrDamaged,
		`{"version":1,"storage":"a","storage":"b"}`:                storage.ErrDamaged,
		"":     storage.ErrDamaged,
		"{}":   storage.ErrDamaged,
		"\x00": storage.ErrDamaged,
	} {
		if _, err := storage.DecodeMarker([]byte(text)); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", text, err, want)
		}
	}
}

// An accepted marker is written again as the same marker.
func FuzzDecodeMarker(f *testing.F) {
	f.Add([]byte(`{"version":1,"storage":"k3j9x7q2m4w5z6abk3j9x7q2m4","marked_at":"2026-11-29T14:00:00Z"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := storage.DecodeMarker(b)
		if err != nil {
			return
		}
		again, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := storage.DecodeMarker(again); err != nil || got.Storage != m.Storage || !got.MarkedAt.Equal(m.MarkedAt) {
			t.Errorf("%+v became %+v, %v", m, got, err)
		}
	})
}
