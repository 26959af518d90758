package controlplane_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgcourier/pgcourier/internal/libpq/controlplane"
	"github.com/pgcourier/pgcourier/internal/secret"
)

func TestOutagesAreNotRefusals(t *testing.T) {
	t.Parallel()
	state := func(code string) error { return fmt.Errorf("query: %w", &pgconn.PgError{Code: code}) }
	for _, c := range []struct {
		err  error
		want bool
	}{
		{state("57P03"), true}, {state("57P01"), true}, {state("57014"), true}, {state("25006"), true},
		{state("53300"), true}, {state("08006"), true}, {state("58030"), true}, {state("55P03"), true},
		{io.ErrUnexpectedEOF, true}, {syscall.ECONNREFUSED, true}, {context.DeadlineExceeded, true},
		{state("42501"), false}, {state("42P01"), false}, {state("23505"), false}, {state("22P02"), false},
		{errors.New("ours"), false},
	} {
		if got := controlplane.Unavailable(c.err); got != c.want {
			t.Errorf("Unavailable(%v) = %t, want %t", c.err, got, c.want)
		}
	}
}

func TestThePoolHasAConnectionForEachCall(t *testing.T) {
	t.Parallel()
	least := int32(max(4, runtime.NumCPU()))
	for _, c := range []struct {
		dsn   secret.String
		calls int32
		want  int32
	}{
		{"postgres://u@127.0.0.1:1/x", 0, least},
		{"postgres://u@127.0.0.1:1/x", least + 7, least + 7},
		{"postgres://u@127.0.0.1:1/x", 1, least},
		{"postgres://u@127.0.0.1:1/x?pool_max_conns=3", least + 7, 3},
		{"host=127.0.0.1 port=1 user=u dbname=x pool_max_conns=300", least + 7, 300},
	} {
		pool, err := controlplane.ConnectFor(t.Context(), c.dsn, nil, c.calls)
		if err != nil {
			t.Fatal(err)
		}
		if got := pool.Config().MaxConns; got != c.want {
			t.Errorf("%q for %d calls: %d connections, want %d", c.dsn.Reveal(), c.calls, got, c.want)
		}
		pool.Close()
	}
}

func TestConnectNeverShowsTheConnectionString(t *testing.T) {
	t.Parallel()
	_, err := controlplane.Connect(t.Context(), "postgres://u:canary-9@[broken", nil)
	if err == nil || strings.Contains(err.Error(), "canary-9") {
		t.Errorf("%v, want an error without the password", err)
	}
	pool, err := controlplane.Connect(t.Context(), "postgres://u:canary-9@127.0.0.1:1/x?sslmode=disable", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if err := pool.Ping(t.Context()); !controlplane.Unavailable(err) || strings.Contains(err.Error(), "canary-9") {
		t.Errorf("%v, want an outage without the password", err)
	}
}

func TestPasswordCommandRunsForAConnection(t *testing.T) {
	t.Parallel()
	pool, err := controlplane.Connect(t.Context(), "postgres://u@127.0.0.1:1/x?sslmode=disable", secret.Command{"sh", "-c", "echo no credentials >&2; exit 1"})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if err := pool.Ping(t.Context()); !controlplane.Unavailable(err) || !errors.Is(err, secret.ErrCommand) || !strings.Contains(err.Error(), "no credentials") {
		t.Errorf("%v, want an outage with the command's words", err)
	}
}
