package controlplane_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgcourier/pgcourier/internal/libpq/controlplane"
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

func TestConnectNeverShowsTheConnectionString(t *testing.T) {
	t.Parallel()
	_, err := controlplane.Connect(t.Context(), "postgres://u:canary-9@[broken")
	if err == nil || strings.Contains(err.Error(), "canary-9") {
		t.Errorf("%v, want an error without the password", err)
	}
	pool, err := controlplane.Connect(t.Context(), "postgres://u:canary-9@127.0.0.1:1/x?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if err := pool.Ping(t.Context()); !controlplane.Unavailable(err) || strings.Contains(err.Error(), "canary-9") {
		t.Errorf("%v, want an outage without the password", err)
	}
}
