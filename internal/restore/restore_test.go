package restore_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"filippo.io/age"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgcluster/contents"
	"github.com/pgcourier/pgcourier/internal/restore"
	"github.com/pgcourier/pgcourier/internal/seal"
)

var formats = []export.Format{export.SQL, export.Tar, export.Custom, export.Directory}

func TestEveryKindRestoresToTheSource(t *testing.T) {
	t.Parallel()
	from := database(t, sourceSQL)
	want, err := contents.Read(t.Context(), connect(t, from), []string{"tenant"})
	if err != nil {
		t.Fatal(err)
	}
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range formats {
		plain := dump(t, from, f, "tenant")
		for _, c := range []seal.Compression{seal.Gzip, seal.Zstd, seal.Plain} {
			x := sealed(t, plain, kind{f, c, identity}, "tenant")
			to := database(t, "CREATE SCHEMA tenant; CREATE SCHEMA other")
			var stages []restore.Stage
			var last restore.Progress
			got, err := restorer(restore.Config{}).Restore(t.Context(), x.Export, target(t, to), func(p restore.Progress) {
				if len(stages) == 0 || stages[len(stages)-1] != p.Stage {
					stages = append(stages, p.Stage)
				}
				last = p
			})
			if err != nil {
				t.Fatalf("%s/%s: %v", f, c, err)
			}
			found, err := contents.Read(t.Context(), connect(t, to), []string{"tenant"})
			if err != nil {
				t.Fatal(err)
			}
			if diffs := contents.Compare(want, found); len(diffs) > 0 || len(found) < 6 {
				t.Errorf("%s/%s: %v of %d tables", f, c, diffs, len(found))
			}
			if rows := got.Evidence.Contents.Rows(); rows != 3500 || got.Evidence.SHA256 != x.Manifest.Artifact.SHA256 {
				t.Errorf("%s/%s: evidence %+v", f, c, got.Evidence)
			}
			if len(stages) != 2 || stages[0] != restore.Checking || last != (restore.Progress{Stage: restore.Restoring, Stored: x.Manifest.Artifact.StoredBytes, Total: x.Manifest.Artifact.StoredBytes}) {
				t.Errorf("%s/%s: stages %v, last %+v", f, c, stages, last)
			}
			if x.opened.Load() != 2 {
				t.Errorf("%s/%s: opened %d times", f, c, x.opened.Load())
			}
		}
	}
}

func TestTheSchemaPublicRestoresIntoANewDatabase(t *testing.T) {
	t.Parallel()
	from := database(t, "CREATE TABLE public.t AS SELECT 1 AS i")
	x := sealed(t, dump(t, from, export.SQL, "public"), kind{format: export.SQL, compression: seal.Plain}, "public")
	to := database(t, "")
	if _, err := restorer(restore.Config{}).Restore(t.Context(), x.Export, target(t, to), nil); err != nil {
		t.Fatal(err)
	}
	if n := value[int](t, to, "SELECT count(*) FROM public.t"); n != 1 {
		t.Errorf("%d rows", n)
	}
}

// pg_dump sets transaction_timeout from version 17 on, and servers from 17 on know it. An older
// server accepts the export as well, and a row with that text stays.
func TestASettingOfNewerServersIsNoObstacle(t *testing.T) {
	t.Parallel()
	const setting = "SET transaction_timeout = 0;\n"
	from := database(t, "CREATE SCHEMA tenant; CREATE TABLE tenant.t (x text); INSERT INTO tenant.t VALUES ('"+strings.TrimSpace(setting)+"')")
	plain := dump(t, from, export.SQL, "tenant")
	if bytes.Count(plain, []byte("\n"+setting)) == 1 { // the row
		const before = "SET lock_timeout = 0;\n"
		plain = bytes.Replace(plain, []byte(before), []byte(before+setting), 1)
	}
	if n := bytes.Count(plain, []byte("\n"+setting)); n != 2 {
		t.Fatalf("the dump holds the setting %d times", n)
	}
	x := sealed(t, plain, kind{format: export.SQL, compression: seal.Plain}, "tenant")
	to := database(t, "")
	if _, err := restorer(restore.Config{}).Restore(t.Context(), x.Export, target(t, to), nil); err != nil {
		t.Fatal(err)
	}
	if got := value[string](t, to, "SELECT x FROM tenant.t"); got+"\n" != setting {
		t.Errorf("the row is %q", got)
	}
}

func TestATargetThatHoldsObjectsIsLeftAlone(t *testing.T) {
	t.Parallel()
	from := database(t, sourceSQL)
	for _, f := range formats {
		x := sealed(t, dump(t, from, f, "tenant"), kind{format: f, compression: seal.Plain}, "tenant")
		to := database(t, "CREATE SCHEMA tenant; CREATE TABLE tenant.precious AS SELECT 7 AS i")
		at := target(t, to)
		if _, err := restorer(restore.Config{}).Restore(t.Context(), x.Export, at, nil); !errors.Is(err, restore.ErrOccupied) {
			t.Fatalf("%s: %v, want ErrOccupied", f, err)
		}
		if x.opened.Load() != 0 {
			t.Errorf("%s: the export was read before the target was looked at", f)
		}
		// A restore that fails keeps the content that it was to replace.
		broken := sealed(t, dump(t, from, f, "tenant"), kind{format: f, compression: seal.Plain}, "tenant")
		broken.readings(whole, func(b []byte) io.Reader { b[len(b)/2] ^= 1; return bytes.NewReader(b) })
		at.Clean = true
		if _, err := restorer(restore.Config{}).Restore(t.Context(), broken.Export, at, nil); err == nil {
			t.Fatalf("%s: a changed export was restored", f)
		}
		if n := value[int](t, to, "SELECT i FROM tenant.precious"); n != 7 {
			t.Errorf("%s: precious is %d", f, n)
		}
		if _, err := restorer(restore.Config{}).Restore(t.Context(), x.Export, at, nil); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		if gone := value[bool](t, to, "SELECT to_regclass('tenant.precious') IS NULL AND to_regclass('tenant.parts') IS NOT NULL"); !gone {
			t.Errorf("%s: the schema was not replaced", f)
		}
	}
}

// If the second pass reads other bytes than the first, they are never committed.
func TestAnExportThatChangesAfterItWasCheckedIsRolledBack(t *testing.T) {
	t.Parallel()
	from := database(t, sourceSQL)
	errLost := errors.New("connection lost")
	for name, second := range map[string]func([]byte) io.Reader{
		"a flipped bit early": func(b []byte) io.Reader { b[len(b)/3] ^= 4; return bytes.NewReader(b) },
		"a flipped bit late":  func(b []byte) io.Reader { b[len(b)-20] ^= 4; return bytes.NewReader(b) },
		"cut short":           func(b []byte) io.Reader { return bytes.NewReader(b[:len(b)*2/3]) },
		"cut in the trailer":  func(b []byte) io.Reader { return bytes.NewReader(b[:len(b)-1]) },
		"longer":              func(b []byte) io.Reader { return io.MultiReader(bytes.NewReader(b), strings.NewReader("\n")) },
		"lost": func(b []byte) io.Reader {
			return io.MultiReader(bytes.NewReader(b[:len(b)/2]), iotest.ErrReader(errLost))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, f := range formats {
				x := sealed(t, dump(t, from, f, "tenant"), kind{format: f, compression: seal.Plain}, "tenant")
				x.readings(whole, second)
				to := database(t, "")
				_, err := restorer(restore.Config{}).Restore(t.Context(), x.Export, target(t, to), nil)
				if err == nil {
					t.Fatalf("%s: restored", f)
				}
				if name == "lost" != errors.Is(err, errLost) {
					t.Errorf("%s: %v", f, err)
				}
				if there := value[bool](t, to, "SELECT to_regnamespace('tenant') IS NOT NULL"); there {
					t.Errorf("%s: something was committed", f)
				}
			}
		})
	}
}

func TestADamagedExportIsNeverFed(t *testing.T) {
	t.Parallel()
	from := database(t, sourceSQL)
	spy := filepath.Join(t.TempDir(), "started")
	dirs := tool(t, "psql", `case "$1" in --version) echo "psql (PostgreSQL) 18.1";; *) touch `+spy+`; exec cat;; esac`)
	for _, f := range formats {
		for name, first := range map[string]func([]byte) io.Reader{
			"flipped": func(b []byte) io.Reader { b[len(b)/2] ^= 1; return bytes.NewReader(b) },
			"cut":     func(b []byte) io.Reader { return bytes.NewReader(b[:len(b)-7]) },
			"empty":   func([]byte) io.Reader { return strings.NewReader("") },
		} {
			x := sealed(t, dump(t, from, f, "tenant"), kind{format: f, compression: seal.Gzip}, "tenant")
			x.readings(first)
			_, err := restorer(restore.Config{BinDirs: dirs}).Restore(t.Context(), x.Export, target(t, database(t, "")), nil)
			if !errors.Is(err, restore.ErrUnverified) {
				t.Errorf("%s %s: %v, want ErrUnverified", f, name, err)
			}
		}
	}
	if _, err := os.Stat(spy); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("psql was started: %v", err)
	}
}

func TestARefusedStatementRollsBackAndSaysWhy(t *testing.T) {
	t.Parallel()
	from := database(t, "CREATE EXTENSION citext; CREATE SCHEMA tenant; CREATE TABLE tenant.t AS SELECT 'x'::citext AS c")
	for _, f := range formats {
		x := sealed(t, dump(t, from, f, "tenant"), kind{format: f, compression: seal.Plain}, "tenant")
		to := database(t, "")
		_, err := restorer(restore.Config{}).Restore(t.Context(), x.Export, target(t, to), nil)
		refused, ok := errors.AsType[*restore.RejectedError](err)
		if !ok || refused.SQLState != "42704" || !strings.Contains(refused.Stderr, "citext") {
			t.Errorf("%s: %v, want SQLSTATE 42704", f, err)
		}
		if there := value[bool](t, to, "SELECT to_regnamespace('tenant') IS NOT NULL"); there {
			t.Errorf("%s: something was committed", f)
		}
	}
}

// The rows are counted in the transaction: a script that loses some of them is detected.
func TestRowsThatGetLostInTheTargetRollBack(t *testing.T) {
	t.Parallel()
	from := database(t, sourceSQL)
	plain := bytes.Replace(dump(t, from, export.SQL, "tenant"), []byte("--\n-- PostgreSQL database dump complete"),
		[]byte("DELETE FROM tenant.parts_a WHERE id = 3;\n\n--\n-- PostgreSQL database dump complete"), 1)
	x := sealed(t, plain, kind{format: export.SQL, compression: seal.Plain}, "tenant")
	to := database(t, "")
	_, err := restorer(restore.Config{}).Restore(t.Context(), x.Export, target(t, to), nil)
	if !errors.Is(err, restore.ErrUnverified) || !strings.Contains(err.Error(), "holds 999 rows, the export 1000") {
		t.Errorf("%v, want ErrUnverified", err)
	}
	if there := value[bool](t, to, "SELECT to_regnamespace('tenant') IS NOT NULL"); there {
		t.Error("something was committed")
	}
}

func TestAnUnreachableTargetSaysSo(t *testing.T) {
	t.Parallel()
	x := sealed(t, dump(t, database(t, sourceSQL), export.SQL, "tenant"), kind{format: export.SQL, compression: seal.Plain}, "tenant")
	_, err := restorer(restore.Config{}).Restore(t.Context(), x.Export, target(t, "nowhere"), nil)
	if !errors.Is(err, restore.ErrTarget) {
		t.Errorf("%v, want ErrTarget", err)
	}
}

func TestToolsThatDoNotFit(t *testing.T) {
	t.Parallel()
	from := database(t, sourceSQL)
	for name, c := range map[string]struct {
		format export.Format
		dirs   []string
	}{
		"no psql":        {export.SQL, []string{t.TempDir()}},
		"old psql":       {export.SQL, tool(t, "psql", `echo "psql (PostgreSQL) 15.13"`)},
		"old pg_restore": {export.Custom, tool(t, "pg_restore", `echo "pg_restore (PostgreSQL) 9.6.24"`)},
	} {
		x := sealed(t, dump(t, from, c.format, "tenant"), kind{format: c.format, compression: seal.Plain}, "tenant")
		_, err := restorer(restore.Config{BinDirs: c.dirs}).Restore(t.Context(), x.Export, target(t, database(t, "")), nil)
		if !errors.Is(err, restore.ErrTool) {
			t.Errorf("%s: %v, want ErrTool", name, err)
		}
	}
}

// A tool that hangs is ended with its children, and the password is not visible anywhere.
func TestAToolThatHangsIsEnded(t *testing.T) {
	t.Parallel()
	from := database(t, sourceSQL)
	for _, f := range []export.Format{export.SQL, export.Custom} {
		seen := filepath.Join(t.TempDir(), "seen")
		name := map[export.Format]string{export.SQL: "psql", export.Custom: "pg_restore"}[f]
		dirs := tool(t, name, `case "$1" in --version) echo "`+name+` (PostgreSQL) 18.1"; exit;; esac
trap '' TERM
{ echo $$; tr '\0' ' ' </proc/$$/environ; tr '\0' ' ' </proc/$$/cmdline; } >`+seen+`.part && mv `+seen+`.part `+seen+`
sleep 600 & sleep 600`)
		x := sealed(t, dump(t, from, f, "tenant"), kind{format: f, compression: seal.Plain}, "tenant")
		to := target(t, database(t, ""))
		var b []byte
		// A busy machine may need longer to reach the point where the tool hangs.
		for limit := time.Second; len(b) == 0; limit *= 2 {
			began := time.Now()
			_, err := restorer(restore.Config{BinDirs: dirs, Timeout: limit, KillDelay: 100 * time.Millisecond}).Restore(t.Context(), x.Export, to, nil)
			if !errors.Is(err, restore.ErrTimeout) || time.Since(began) > limit+5*time.Minute {
				t.Fatalf("%s: %v after %s, want ErrTimeout after %s", f, err, time.Since(began), limit)
			}
			if b, err = os.ReadFile(seen); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
		}
		pid, text, _ := strings.Cut(string(b), "\n")
		if password := passwordOf(t); strings.Contains(text, password) {
			t.Errorf("%s: the password is in %q", f, text)
		}
		n, err := strconv.Atoi(pid)
		if err != nil {
			t.Fatal(err)
		}
		// A killed process ends when it gets a core.
		for deadline := time.Now().Add(5 * time.Minute); len(group(t, n)) != 0; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: of group %s there is %v", f, pid, group(t, n))
			}
		}
	}
}

func TestACancelledRestoreRollsBack(t *testing.T) {
	t.Parallel()
	x := sealed(t, dump(t, database(t, sourceSQL), export.SQL, "tenant"), kind{format: export.SQL, compression: seal.Plain}, "tenant")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	errEnough := errors.New("enough")
	to := database(t, "")
	_, err := restorer(restore.Config{}).Restore(ctx, x.Export, target(t, to), func(p restore.Progress) {
		if p.Stage == restore.Restoring {
			cancel(errEnough)
		}
	})
	if !errors.Is(err, errEnough) {
		t.Errorf("%v, want the cause", err)
	}
	if there := value[bool](t, to, "SELECT to_regnamespace('tenant') IS NOT NULL"); there {
		t.Error("something was committed")
	}
}

// Rows of partitions by hash may move to another partition, but none may be lost.
func TestRowsThatGetLostInPartitionsByHashRollBack(t *testing.T) {
	t.Parallel()
	from := database(t, `CREATE SCHEMA tenant; CREATE TABLE tenant.h (i int) PARTITION BY HASH (i);
		CREATE TABLE tenant.h0 PARTITION OF tenant.h FOR VALUES WITH (MODULUS 2, REMAINDER 0);
		CREATE TABLE tenant.h1 PARTITION OF tenant.h FOR VALUES WITH (MODULUS 2, REMAINDER 1);
		INSERT INTO tenant.h SELECT generate_series(1, 100)`)
	const trailer = "--\n-- PostgreSQL database dump complete"
	for statement, lost := range map[string]bool{
		"DELETE FROM tenant.h WHERE i = 3;":                                             true,
		"INSERT INTO tenant.h VALUES (3);":                                              true,
		"DELETE FROM tenant.h0; INSERT INTO tenant.h1 SELECT i FROM tenant.h1 LIMIT 0;": true,
		"UPDATE tenant.h SET i = i + 1;":                                                false, // some move
		"ALTER TABLE tenant.h DETACH PARTITION tenant.h0; DELETE FROM tenant.h0;":       true,
	} {
		plain := bytes.Replace(dump(t, from, export.SQL, "tenant"), []byte(trailer), []byte(statement+"\n\n"+trailer), 1)
		x := sealed(t, plain, kind{format: export.SQL, compression: seal.Plain}, "tenant")
		_, err := restorer(restore.Config{}).Restore(t.Context(), x.Export, target(t, database(t, "")), nil)
		if errors.Is(err, restore.ErrUnverified) != lost || err != nil != lost {
			t.Errorf("%s: %v", statement, err)
		}
	}
}

func TestRehearse(t *testing.T) {
	t.Parallel()
	// A login that may only make databases.
	execute(t, "postgres", "CREATE ROLE rehearser LOGIN CREATEDB PASSWORD 'x y:\\z'")
	execute(t, "postgres", "CREATE DATABASE pgcourier_scratch_20200101t000000_left OWNER rehearser")
	execute(t, "postgres", "CREATE DATABASE pgcourier_scratch_29990101t000000_busy OWNER rehearser")
	defer execute(t, "postgres", "DROP ROLE rehearser")
	defer execute(t, "postgres", "DROP DATABASE pgcourier_scratch_29990101t000000_busy")
	server := target(t, "postgres").Source.WithLogin("rehearser", `x y:\z`)
	from := database(t, sourceSQL)
	for _, f := range formats {
		x := sealed(t, dump(t, from, f, "tenant"), kind{format: f, compression: seal.Zstd}, "tenant")
		got, err := restorer(restore.Config{}).Rehearse(t.Context(), x.Export, restore.Scratch{Server: server}, nil)
		if err != nil || got.Evidence.Contents.Rows() != 3500 || !strings.HasPrefix(got.ServerVersion, "1") || got.Took <= 0 {
			t.Errorf("%s: %+v, %v", f, got, err)
		}
	}
	x := sealed(t, dump(t, database(t, "CREATE SCHEMA tenant; CREATE TABLE tenant.t (i int); CREATE FUNCTION tenant.evil(i int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$BEGIN EXECUTE 'COPY (SELECT 1) TO PROGRAM ''touch /tmp/evil'''; RETURN i; END$$; INSERT INTO tenant.t VALUES (1)"), export.SQL, "tenant"),
		kind{format: export.SQL, compression: seal.Plain}, "tenant")
	if _, err := restorer(restore.Config{}).Rehearse(t.Context(), x.Export, restore.Scratch{Server: server}, nil); err != nil {
		t.Error(err)
	}
	const left = "FROM pg_database WHERE datname LIKE 'pgcourier_scratch%' AND datname NOT LIKE '%busy' AND datdba = 'rehearser'::regrole"
	if n := value[int](t, "postgres", "SELECT count(*) "+left); n != 0 {
		t.Errorf("%d scratch databases are left", n)
	}
	// A scratch database that cannot be dropped says nothing about the export.
	var other *pgx.Conn
	_, err := restorer(restore.Config{}).Rehearse(t.Context(), x.Export, restore.Scratch{Server: server}, func(restore.Progress) {
		if other == nil {
			other = connect(t, value[string](t, "postgres", "SELECT datname::text "+left))
		}
	})
	name := value[string](t, "postgres", "SELECT datname::text "+left)
	if err != nil || other == nil || name == "" {
		t.Errorf("with a session in the scratch database %q: %v", name, err)
	}
	execute(t, "postgres", "DROP DATABASE "+name+" WITH (FORCE)")
}

// A missing right of the login proves nothing about an export, also when the second restore cannot
// be made.
func TestARefusalIsAVerdictOnlyAfterASecondRestore(t *testing.T) {
	t.Parallel()
	execute(t, "postgres", "CREATE ROLE once LOGIN CREATEDB PASSWORD 'x'")
	defer execute(t, "postgres", "DROP ROLE once")
	server := target(t, "postgres").Source.WithLogin("once", "x")
	x := sealed(t, dump(t, database(t, "CREATE SCHEMA tenant; CREATE FUNCTION tenant.f() RETURNS int LEAKPROOF LANGUAGE sql AS 'SELECT 1'"), export.SQL, "tenant"),
		kind{format: export.SQL, compression: seal.Plain}, "tenant")
	if got, err := restorer(restore.Config{}).Rehearse(t.Context(), x.Export, restore.Scratch{Server: server}, nil); err != nil || len(got.Unchecked) != 1 {
		t.Errorf("with a folder: %v, %v", got.Unchecked, err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := restorer(restore.Config{SpoolDir: file}).Rehearse(t.Context(), x.Export, restore.Scratch{Server: server}, nil)
	if _, rejected := errors.AsType[*restore.RejectedError](err); rejected || !errors.Is(err, restore.ErrScratch) {
		t.Errorf("without a folder: %v, want ErrScratch", err)
	}
}
