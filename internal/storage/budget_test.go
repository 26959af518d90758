package storage_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/storage"
)

// slow is a store that reads to the end and takes some time after each read.
type slow struct {
	export.Store
	pause time.Duration
	chunk int // bytes of a read; 0: one
}

func (s slow) Put(ctx context.Context, _ string, r io.Reader, _ func() export.Manifest) ([]export.Copy, error) {
	buf := make([]byte, max(1, s.chunk))
	for {
		if _, err := r.Read(buf); err != nil {
			if err == io.EOF {
				return []export.Copy{{URI: "slow:"}}, nil
			}
			return nil, err
		}
		select {
		case <-time.After(s.pause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// trickle returns a byte after each pause.
type trickle struct {
	r     io.Reader
	pause time.Duration
}

func (s trickle) Read(p []byte) (int, error) {
	time.Sleep(s.pause)
	return s.r.Read(p[:1])
}

func TestOnlyStoringCountsAgainstTheBudget(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		put := func(pause, budget time.Duration, r io.Reader) error {
			copies, err := storage.Budgeted{Store: slow{pause: pause}, Budget: budget}.Put(t.Context(), fanKey, r, nil)
			if (err == nil) != (len(copies) == 1) {
				t.Errorf("copies %v with %v", copies, err)
			}
			return err
		}
		// A dump of ten hours and a storage that needs ten minutes for it.
		if err := put(time.Minute, 11*time.Minute, trickle{bytes.NewReader(make([]byte, 10)), time.Hour}); err != nil {
			t.Errorf("a slow dump: %v", err)
		}
		begun := time.Now()
		err := put(time.Minute, 5*time.Minute+time.Second, bytes.NewReader(make([]byte, 10)))
		fault, ok := errors.AsType[*export.Fault](err)
		if !ok || fault.Code != codes.UploadTimeout || fault.Code.Permanent() || !errors.Is(err, context.Canceled) {
			t.Errorf("a slow storage: %v", err)
		}
		if took := time.Since(begun); took != 5*time.Minute+time.Second {
			t.Errorf("ended after %s", took)
		}
		if err := put(time.Hour, 0, bytes.NewReader(make([]byte, 10))); err != nil {
			t.Errorf("without a budget: %v", err)
		}
		if err := put(0, time.Minute, trickle{&failingReader{}, time.Hour}); !errors.Is(err, errTest) || errors.As(err, &fault) {
			t.Errorf("a failing dump: %v", err)
		}
	})
}

// A storage that takes no data is logged at growing intervals, a slow dump is not.
func TestAStorageThatTakesNoDataIsLogged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		put := func(pause time.Duration, r io.Reader) (lines, ended int) {
			var text bytes.Buffer
			b := storage.Budgeted{Store: slow{pause: pause}, Budget: time.Hour, Log: slog.New(slog.NewTextHandler(&text, nil))}
			if _, err := b.Put(t.Context(), fanKey, r, nil); err != nil {
				t.Error(err)
			}
			return strings.Count(text.String(), "takes no data"), strings.Count(text.String(), "takes data again")
		}
		// Two pauses of five minutes and a second, each with a line after 1, 2 and 4 minutes.
		if lines, ended := put(5*time.Minute+time.Second, bytes.NewReader(make([]byte, 2))); lines != 6 || ended != 1 {
			t.Errorf("a slow storage: %d lines, %d ends", lines, ended)
		}
		if lines, _ := put(0, trickle{bytes.NewReader(make([]byte, 3)), time.Hour}); lines != 0 {
			t.Errorf("a slow dump: %d lines", lines)
		}
	})
}

type failingReader struct{}

func (*failingReader) Read([]byte) (int, error) { return 0, errTest }

// A destination that hangs fails as an optional one, and the export does not.
func TestASlowOptionalTargetIsDropped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var told reports
		first := storage.Budgeted{Store: slow{chunk: 64 << 10}, Budget: time.Minute}
		second := storage.Budgeted{Store: slow{pause: time.Hour, chunk: 64 << 10}, Budget: 30 * time.Second}
		fan, err := storage.NewFan([]storage.Target{{Name: "a", Store: first}, {Name: "b", Store: second, Optional: true}}, told.failed)
		if err != nil {
			t.Fatal(err)
		}
		copies, err := fan.Put(t.Context(), fanKey, bytes.NewReader(make([]byte, 8<<20)), nil)
		if err != nil || len(copies) != 2 || copies[1].Code != codes.UploadTimeout || len(told.names) != 1 {
			t.Errorf("%+v, %v; reported %q", copies, err, told.names)
		}
	})
}

// waiting is a store that has to wait.
type waiting struct {
	export.Store
	asked, own time.Duration
}

func (w waiting) Put(ctx context.Context, _ string, r io.Reader, _ func() export.Manifest) ([]export.Copy, error) {
	resume := storage.Pause(ctx)
	time.Sleep(w.asked / 2)
	if _, err := io.ReadAll(r); err != nil { // which stops the clock too
		return nil, err
	}
	time.Sleep(w.asked / 2)
	resume()
	select {
	case <-time.After(w.own):
		return nil, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func TestARequestedWaitDoesNotCountAgainstTheBudget(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, own := range []time.Duration{time.Hour, 3 * time.Hour} {
			_, err := storage.Budgeted{Store: waiting{asked: 20 * time.Hour, own: own}, Budget: 2 * time.Hour}.Put(t.Context(), fanKey, bytes.NewReader(nil), nil)
			if f, late := errors.AsType[*export.Fault](err); late != (own > 2*time.Hour) || late && f.Code != codes.UploadTimeout {
				t.Errorf("own %s: %v", own, err)
			}
		}
	})
	storage.Pause(t.Context())() // without a budget
}
