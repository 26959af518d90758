package scratch_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/restore/scratch"
)

func ExampleServer() {
	server := scratch.NewServer("postgres://verifier@db.example.org/scratch", nil, nil)
	defer func() { _ = server.Close() }()
	rehearse, err := server.For(context.Background(), 100)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(rehearse.Server.Database())
	// Output: scratch
}

func TestAnInvalidURLIsAFaultOfTheConfiguration(t *testing.T) {
	t.Parallel()
	_, err := scratch.NewServer("postgres://[", nil, nil).For(t.Context(), 0)
	if _, setting := errors.AsType[*config.Error](err); !setting {
		t.Errorf("the error is %v", err)
	}
}

// The temporary server is as large as the export needs, and no larger for the others.
func TestTheTemporaryServerHasRoomForTheExport(t *testing.T) {
	t.Parallel()
	server := scratch.NewServer("", nil, nil)
	t.Cleanup(func() {
		if err := errors.Join(server.Close(), server.Close()); err != nil {
			t.Error(err)
		}
	})
	for _, c := range []struct{ tables, locks int }{{0, 4096}, {20_000, 12_800}, {10, 12_800}} {
		s, err := server.For(t.Context(), c.tables)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := s.Server.WithDatabase("postgres").Connect(t.Context(), map[string]string{})
		if err != nil {
			t.Fatal(err)
		}
		var locks int
		err = conn.Conn.QueryRow(t.Context(), "SELECT current_setting('max_locks_per_transaction')::int").Scan(&locks)
		conn.Close()
		if err != nil || locks != c.locks {
			t.Errorf("for %d tables max_locks_per_transaction is %d (%v), want %d", c.tables, locks, err, c.locks)
		}
	}
}

func TestWithoutASandboxNothingIsConfined(t *testing.T) {
	t.Parallel()
	in, err := scratch.OpenSandbox(t.Context(), config.SandboxOff, slog.New(slog.DiscardHandler))
	if err != nil || in != nil || in.Confine() != nil {
		t.Errorf("%v, %v", in, err)
	}
}
