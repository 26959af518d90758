package restore_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/internal/dev/pgtest"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/libpq"
	"github.com/pgcourier/pgcourier/internal/pgcluster"
	"github.com/pgcourier/pgcourier/internal/restore"
	"github.com/pgcourier/pgcourier/internal/seal"
	"github.com/pgcourier/pgcourier/internal/secret"
)

// Without errors, restores that keep going or have no transaction are like any other. In none of
// them a change after the check reaches the target.
func TestStepwiseRestoresAreChecked(t *testing.T) {
	t.Parallel()
	from := database(t, sourceSQL)
	for _, f := range formats {
		plain := dump(t, from, f, "tenant")
		for _, at := range []restore.Target{{KeepGoing: true}, {NoTransaction: true}, {KeepGoing: true, NoTransaction: true}} {
			name := fmt.Sprintf("%s, keep going %t, no transaction %t", f, at.KeepGoing, at.NoTransaction)
			x := sealed(t, plain, kind{format: f, compression: seal.Plain}, "tenant")
			to := database(t, "")
			at.Source = target(t, to).Source
			for what, second := range map[string]func([]byte) io.Reader{
				"flipped": func(b []byte) io.Reader { b[len(b)-2000] ^= 4; return bytes.NewReader(b) },
				"cut":     func(b []byte) io.Reader { return bytes.NewReader(b[:len(b)*2/3]) },
			} {
				x.readings(whole, second)
				if _, err := restorer(restore.Config{}).Restore(t.Context(), x.Export, at, nil); !errors.Is(err, restore.ErrUnverified) || errors.Is(err, restore.ErrPartial) {
					t.Errorf("%s, %s: %v", name, what, err)
				}
				if value[bool](t, to, "SELECT to_regnamespace('tenant') IS NOT NULL") {
					t.Errorf("%s, %s: the target was changed", name, what)
				}
			}
			x.readings(whole)
			if _, err := restorer(restore.Config{}).Restore(t.Context(), x.Export, at, nil); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if n := value[int](t, to, "SELECT count(*) FROM tenant.parts"); n != 3000 {
				t.Errorf("%s: %d rows", name, n)
			}
		}
	}
}

// A restore that keeps going also reports lost rows.
func TestKeepGoingTellsWhichTablesDiffer(t *testing.T) {
	t.Parallel()
	const trailer = "--\n-- PostgreSQL database dump complete"
	plain := bytes.Replace(dump(t, database(t, sourceSQL), export.SQL, "tenant"), []byte(trailer),
		[]byte("DELETE FROM tenant.parts_a WHERE id = 3;\n\nSELECT 1/0;\n\n"+trailer), 1)
	x := sealed(t, plain, kind{format: export.SQL, compression: seal.Plain}, "tenant")
	at := target(t, database(t, ""))
	at.KeepGoing = true
	_, err := restorer(restore.Config{}).Restore(t.Context(), x.Export, at, nil)
	incomplete, ok := errors.AsType[*restore.IncompleteError](err)
	if !ok || !slices.Equal(incomplete.Differences, []string{"table tenant.parts_a holds 999 rows, the export 1000"}) ||
		len(incomplete.Failures) != 1 || !strings.HasPrefix(incomplete.Failures[0], "SELECT 1/0;: ERROR: division by zero") {
		t.Errorf("%+v (%v)", incomplete, err)
	}
}

func TestStepsThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	x := sealed(t, dump(t, database(t, sourceSQL), export.Custom, "tenant"), kind{format: export.Custom, compression: seal.Plain}, "tenant")
	for _, c := range []struct {
		at   restore.Target
		want error
	}{
		{restore.Target{NoTransaction: true, Clean: true}, restore.ErrSteps},
		{restore.Target{NoTransaction: true, Jobs: 2}, restore.ErrJobs},
		{restore.Target{KeepGoing: true, Jobs: 2}, restore.ErrJobs},
	} {
		c.at.Source = target(t, "postgres").Source
		if _, err := restorer(restore.Config{}).Restore(t.Context(), x.Export, c.at, nil); !errors.Is(err, c.want) {
			t.Errorf("%+v: %v, want %v", c.at, err, c.want)
		}
	}
}

// A server with few locks accepts many tables one by one, and the error says what it needs for all
// at once.
func TestAServerWithFewLocks(t *testing.T) {
	t.Parallel()
	small := pgtest.Start(t, pgcluster.Config{InMemory: true, Settings: map[string]string{
		"max_connections": "10", "max_locks_per_transaction": "10", "max_worker_processes": "0", "autovacuum_max_workers": "1", "max_wal_senders": "0",
	}})
	from := database(t, "CREATE SCHEMA tenant")
	execute(t, from, "DO $$BEGIN FOR i IN 1 .. 600 LOOP EXECUTE format('CREATE TABLE tenant.t%s (id serial PRIMARY KEY, s text)', i); END LOOP; END$$")
	server, err := libpq.Parse(secret.String(small.URL("postgres")))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []export.Format{export.SQL, export.Custom} {
		x := sealed(t, dump(t, from, f, "tenant"), kind{format: f, compression: seal.Plain}, "tenant")
		for _, at := range []restore.Target{{}, {KeepGoing: true}} {
			at.Source = server
			_, err := restorer(restore.Config{}).Restore(t.Context(), x.Export, at, nil)
			// 6,000 locks for 10 sessions.
			if !errors.Is(err, restore.ErrLocks) || !strings.Contains(err.Error(), "max_locks_per_transaction is 10, and 640 is enough for 600 tables") {
				t.Fatalf("%s, keep going %t: %v", f, at.KeepGoing, err)
			}
		}
	}
	x := sealed(t, dump(t, from, export.SQL, "tenant"), kind{format: export.SQL, compression: seal.Plain}, "tenant")
	if _, err := restorer(restore.Config{}).Restore(t.Context(), x.Export, restore.Target{Source: server, NoTransaction: true}, nil); err != nil {
		t.Errorf("without a transaction: %v", err)
	}
}
