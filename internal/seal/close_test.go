package seal_test

import (
	"errors"
	"io"
	"testing"

	"go.uber.org/goleak"

	"github.com/pgcourier/pgcourier/internal/seal"
)

// TestCloseWithoutReadingLeaksNothing is not parallel: it watches all goroutines.
func TestCloseWithoutReadingLeaksNothing(t *testing.T) {
	before := goleak.IgnoreCurrent()
	for _, c := range compressions {
		for _, reads := range []int{0, 1, 2} {
			s, err := seal.New(endless, seal.Options{Compression: c, Concurrency: 2})
			if err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 100)
			for range reads {
				if _, err := s.Read(buf); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}
			if _, err := s.Read(buf); !errors.Is(err, seal.ErrClosed) {
				t.Errorf("read after close: %v, want ErrClosed", err)
			}
			if got := s.Summary(); got.SHA256 != "" {
				t.Errorf("summary of an abandoned stream: %+v", got)
			}
			goleak.VerifyNone(t, before)
		}
	}
}

func TestCloseDuringAReadThatHangs(t *testing.T) {
	before := goleak.IgnoreCurrent()
	for _, c := range compressions {
		pr, pw := io.Pipe()
		s, err := seal.New(pr, seal.Options{Compression: c})
		if err != nil {
			t.Fatal(err)
		}
		failed := make(chan error)
		go func() {
			_, err := io.Copy(io.Discard, s)
			failed <- err
		}()
		if _, err := pw.Write(tiny[:100]); err != nil { // the Read is under way
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := pw.CloseWithError(errBoom); err != nil {
			t.Error(err)
		}
		if err := <-failed; !errors.Is(err, errBoom) && !errors.Is(err, seal.ErrClosed) {
			t.Errorf("%s: read returned %v", c, err)
		}
		goleak.VerifyNone(t, before)
	}
}
