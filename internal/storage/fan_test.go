package storage_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/dev/storagetest"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/storage"
)

const fanKey = "acme/r.1.sql"

var errTest = errors.New("injected")

// memory is one destination of a fan with access to its content.
type memory struct {
	*storage.Repository
	dst storagetest.Destination
}

func newMemory(t *testing.T) memory {
	t.Helper()
	dst := storagetest.NewMemory(100 << 10).Destination()
	r, err := storage.New(storage.Config{Driver: dst.Driver, Journal: dst.Journal})
	if err != nil {
		t.Fatal(err)
	}
	return memory{r, dst}
}

func (m memory) expect(t *testing.T, want []byte) {
	t.Helper()
	if want == nil {
		if left := m.dst.Remains(t); len(left) != 0 {
			t.Errorf("left: %q", left)
		}
		return
	}
	body, err := m.Open(t.Context(), fanKey)
	if err != nil {
		t.Error(err)
		return
	}
	if got, err := io.ReadAll(body); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes of %d, or others; %v", len(got), len(want), err)
	}
	if err := body.Close(); err != nil {
		t.Error(err)
	}
}

// breaking is a store with a Put that fails after so many bytes, or after its end when negative.
type breaking struct {
	export.Store
	after int64
}

func (b breaking) Put(ctx context.Context, key string, r io.Reader, describe func() export.Manifest) ([]export.Copy, error) {
	if b.after < 0 {
		copies, err := b.Store.Put(ctx, key, r, describe)
		return copies, errors.Join(err, b.Delete(ctx, key), errTest)
	}
	if _, err := io.CopyN(io.Discard, r, b.after); err != nil {
		return nil, err
	}
	return nil, errTest
}

// reports collects a fan's reports of optional targets.
type reports struct {
	mu    sync.Mutex
	names []string
}

func (r *reports) failed(_ context.Context, name string, _ error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.names = append(r.names, name)
}

func TestFan(t *testing.T) {
	t.Parallel()
	// More than the blocks between stream and targets hold.
	data := storagetest.Bytes(5 << 20)
	for what, test := range map[string]struct {
		breakB, optional bool
		after            int64
		want             error
		reported         []string
	}{
		"all well":                         {},
		"optional breaks at once":          {breakB: true, optional: true, reported: []string{"b"}},
		"optional breaks midway":           {breakB: true, optional: true, after: 9 << 19, reported: []string{"b"}},
		"optional breaks at its end":       {breakB: true, optional: true, after: -1, reported: []string{"b"}},
		"required breaks at once":          {breakB: true, want: errTest},
		"required breaks midway":           {breakB: true, after: 9 << 19, want: errTest},
		"required breaks after the others": {breakB: true, after: -1, want: errTest},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			a, b, c := newMemory(t), newMemory(t), newMemory(t)
			var second export.Store = b
			if test.breakB {
				second = breaking{b, test.after}
			}
			var told reports
			fan, err := storage.NewFan([]storage.Target{
				{Name: "a", Store: a}, {Name: "b", Store: second, Optional: test.optional}, {Name: "c", Store: c},
			}, told.failed)
			if err != nil {
				t.Fatal(err)
			}
			described := 0
			copies, err := fan.Put(t.Context(), fanKey, iotest.HalfReader(bytes.NewReader(data)), func() export.Manifest {
				described++
				return storagetest.Describe(fanKey, data)()
			})
			if !errors.Is(err, test.want) || test.want == nil && err != nil {
				t.Errorf("put: %v", err)
			}
			if described > 1 {
				t.Errorf("described %d times", described)
			}
			if !slices.Equal(told.names, test.reported) {
				t.Errorf("reported %q", told.names)
			}
			whole, maybe := data, data
			want := []export.CopyStatus{export.Stored, export.Stored, export.Stored}
			switch {
			case test.want != nil:
				want, whole, maybe = nil, nil, nil
			case test.breakB:
				want[1], maybe = export.NotStored, nil
			}
			var got []export.CopyStatus
			for _, c := range copies {
				got = append(got, c.Status)
				if c.Status == export.NotStored && (c.Destination != "b" || c.Code != codes.InternalError || c.URI != "" || c.Message == "") {
					t.Errorf("the failed copy is %+v", c)
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("copies %+v", copies)
			}
			a.expect(t, whole)
			b.expect(t, maybe)
			c.expect(t, whole)
			if err := fan.Delete(t.Context(), fanKey); err != nil {
				t.Error(err)
			}
			for _, m := range []memory{a, b, c} {
				m.expect(t, nil)
			}
		})
	}
}

// The error that ends the stream reaches every target unchanged.
func TestFanStreamFails(t *testing.T) {
	t.Parallel()
	fault := &export.Fault{Code: codes.DumpFailed, Message: "pg_dump failed"}
	a, b := newMemory(t), newMemory(t)
	fan, err := storage.NewFan([]storage.Target{{Name: "a", Store: a}, {Name: "b", Store: b}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = fan.Put(t.Context(), fanKey, io.MultiReader(bytes.NewReader(storagetest.Bytes(1<<20)), iotest.ErrReader(fault)), nil)
	if got, ok := errors.AsType[*export.Fault](err); !ok || got != fault {
		t.Errorf("put: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := fan.Put(ctx, fanKey, bytes.NewReader(nil), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("put with an ended context: %v", err)
	}
	func() {
		defer func() {
			if v := recover(); v != "the stream panics" {
				t.Errorf("recovered %v", v)
			}
		}()
		_, err := fan.Put(t.Context(), fanKey, panicking{}, nil)
		t.Errorf("put returned %v", err)
	}()
	a.expect(t, nil)
	b.expect(t, nil)
}

type panicking struct{}

func (panicking) Read([]byte) (int, error) { panic("the stream panics") }

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	m := newMemory(t)
	for what, targets := range map[string][]storage.Target{
		"none": nil, "no store": {{Name: "a"}}, "all optional": {{Name: "a", Store: m, Optional: true}},
		"without a callback": {{Name: "a", Store: m}, {Name: "b", Store: m, Optional: true}},
	} {
		if _, err := storage.NewFan(targets, nil); err == nil {
			t.Errorf("fan, %s: accepted", what)
		}
	}
	for what, c := range map[string]storage.Config{
		"no driver": {}, "no journal": {Driver: storagetest.NewMemory(1)}, "bare driver": {Driver: bare{storagetest.NewMemory(1)}},
	} {
		if _, err := storage.New(c); err == nil {
			t.Errorf("repository, %s: accepted", what)
		}
	}
}

// bare hides the optional methods of a driver.
type bare struct{ storage.Driver }

// A required target that failed stops the dump at once.
func TestFanStopsEarly(t *testing.T) {
	t.Parallel()
	a, b := newMemory(t), newMemory(t)
	fan, err := storage.NewFan([]storage.Target{{Name: "a", Store: a}, {Name: "b", Store: breaking{b, 1 << 20}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fan.Put(t.Context(), fanKey, endless{}, nil); !errors.Is(err, errTest) {
		t.Errorf("put: %v", err)
	}
	a.expect(t, nil)
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }
