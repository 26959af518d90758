package pgdump_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/dev/faketool"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgdump"
)

// script makes a folder with a pg_dump that answers --version with the first command and
// anything else with the second.
func script(t *testing.T, version, body string) string {
	t.Helper()
	dir := t.TempDir()
	text := fmt.Sprintf("#!/bin/sh\nif [ \"$1\" = --version ]; then\n%s\nexit 0\nfi\n%s\n", version, body)
	faketool.Install(t, filepath.Join(dir, "pg_dump"), text)
	return dir
}

// fake is a pg_dump newer than any server that misbehaves.
func fake(t *testing.T, body string) []string {
	t.Helper()
	return []string{script(t, `echo "pg_dump (PostgreSQL) 99.1 (a fake)"`, body)}
}

// log collects log lines.
type log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func TestPgDumpThatMisbehaves(t *testing.T) {
	t.Parallel()
	dsn := database(t, cluster, simple)
	for name, c := range map[string]struct {
		body   string
		code   codes.Code
		stderr string
	}{
		"writes half and exits 1":     {`echo "-- half"; echo "the last words" >&2; exit 1`, codes.DumpFailed, "the last words"},
		"writes nothing and exits 1":  {`echo "no words" >&2; exit 1`, codes.DumpFailed, "no words"},
		"writes nothing and exits 0":  {`exit 0`, codes.DumpIncomplete, ""},
		"is killed":                   {`echo half; kill -KILL $$`, codes.DumpFailed, "signal: killed"},
		"closes its output and stays": {`echo half; exec >&-; exec sleep 1000`, codes.DumpStalled, ""},
		"hangs":                       {`exec sleep 1000`, codes.DumpStalled, ""},
		"hangs and ignores SIGTERM":   {`trap "" TERM; while :; do sleep 0.1; done`, codes.DumpStalled, ""},
		"answers SIGTERM with exit 0": {`echo half; trap "exit 0" TERM; while :; do sleep 0.01; done`, codes.DumpStalled, ""},
		"writes for ever":             {`while :; do echo x; done`, codes.DumpTimeout, ""},
		"leaves a child behind":       {`sleep 1000 & echo half; exit 1`, codes.DumpFailed, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out log
			config := pgdump.Config{
				BinDirs: fake(t, c.body), KillDelay: 100 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(&out, nil)),
			}
			dump := open(t, config, job(dsn, export.SQL, "s"))
			// Only the limit under test is short: the machine may be busy.
			if c.code == codes.DumpTimeout {
				pgdump.Limit(dump, 500*time.Millisecond, time.Hour)
			}
			if c.code == codes.DumpStalled {
				pgdump.Limit(dump, time.Hour, 2*time.Second)
			}
			pid := pgdump.ProcessID(dump)
			f := fault(t, readUntilError(t, dump), c.code)
			if strings.Contains(f.Message, "words") {
				t.Errorf("message = %q holds stderr", f.Message)
			}
			contains(t, "log", out.String(), c.stderr)
			if err := dump.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
			eventually(t, "the process group is empty", func() bool { return len(group(t, pid)) == 0 })
		})
	}
}

func TestPgDumpThatWritesForEverIsStoppedByClose(t *testing.T) {
	t.Parallel()
	dump := open(t, pgdump.Config{BinDirs: fake(t, `while :; do echo x; done`)}, job(database(t, cluster, simple), export.SQL, "s"))
	read(t, dump, 100)
	for range 2 { // it is idempotent
		if err := dump.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := io.Copy(io.Discard, dump); err == nil {
		t.Error("a closed dump ended well")
	}
}

// While the dump is not read, neither of its clocks runs: the storage has its own limit.
func TestTheClockStopsWhileTheReaderWaits(t *testing.T) {
	t.Parallel()
	wait := filepath.Join(t.TempDir(), "wait")
	dump := open(t, pgdump.Config{
		BinDirs: fake(t, fmt.Sprintf(`echo start; until [ -e %s ]; do sleep 0.01; done; echo end`, wait)),
	}, job(database(t, cluster, simple), export.SQL, "s"))
	read(t, dump, len("start\n"))
	pgdump.Limit(dump, 4*time.Second, 4*time.Second)
	// Real time passes without a read, which is the subject of the test, and the script waits for
	// it.
	timer := time.NewTimer(5500 * time.Millisecond)
	<-timer.C
	pgdump.Limit(dump, time.Hour, time.Hour) // the script may take as long as it needs
	if err := os.WriteFile(wait, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(dump)
	if err != nil || string(rest) != "end\n" {
		t.Errorf("rest = %q, %v; want the end", rest, err)
	}
}

// The tar format writes to a spool first: bytes written there count as progress, like bytes of the
// output.
func TestTarSpoolingIsProgress(t *testing.T) {
	t.Parallel()
	dsn := database(t, cluster, simple)
	spooling := func(f export.Format) (dump export.Dump, enough string) {
		dir := t.TempDir()
		enough = filepath.Join(dir, "enough")
		body := fmt.Sprintf(`until [ -e %s ]; do echo spooled >> %s; sleep 0.1; done; echo out`, enough, filepath.Join(dir, "spool"))
		return open(t, pgdump.Config{BinDirs: fake(t, body)}, job(dsn, f, "s")), enough
	}
	dump, enough := spooling(export.Tar)
	pgdump.Limit(dump, time.Hour, time.Hour)
	done := make(chan error, 1)
	go func() { _, err := io.Copy(io.Discard, dump); done <- err }()
	var before time.Duration
	eventually(t, "the silence ends without a byte of the output", func() bool {
		now := pgdump.Silence(dump)
		ended := now < before
		before = now
		return ended
	})
	if err := os.WriteFile(enough, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("tar: %v, want no stall", err)
	}
	dump, _ = spooling(export.SQL) // it spools without end
	pgdump.Limit(dump, time.Hour, 2*time.Second)
	fault(t, readUntilError(t, dump), codes.DumpStalled)
}

func TestCancelPassesItsCauseThrough(t *testing.T) {
	t.Parallel()
	dsn := database(t, cluster, large)
	ctx, cancel := context.WithCancelCause(t.Context())
	dump, err := dumper(t, pgdump.Config{}).Open(ctx, job(dsn, export.SQL, "big"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dump.Close() })
	read(t, dump, 1000)
	cancel(export.ErrSuperseded)
	if err := readUntilError(t, dump); !errors.Is(err, export.ErrSuperseded) {
		t.Errorf("read: %v, want the cause", err)
	}
	if err := dump.Close(); err != nil {
		t.Fatal(err)
	}
	noSessionIsLeft(t, dsn)
}
