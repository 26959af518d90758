package pgdump_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgdump"
	"github.com/pgcourier/pgcourier/internal/pgdump/archive"
	"github.com/pgcourier/pgcourier/internal/spool"
)

func area(t *testing.T, dir string) *spool.Area {
	t.Helper()
	a, err := spool.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// parallel is a job of format directory.
func parallel(dsn string, jobs int, schemas ...string) export.DumpJob {
	j := job(dsn, export.Directory, schemas...)
	j.Jobs = jobs
	return j
}

// many is so many tables of some 200 KiB each.
func many(tables int) string {
	return fmt.Sprintf(`
CREATE SCHEMA big;
DO $$ BEGIN FOR i IN 1..%d LOOP
  EXECUTE format('CREATE TABLE big.t%%s AS SELECT i, repeat(''x'', 1000) AS pad FROM generate_series(1, 200) i', i);
END LOOP; END $$;`, tables)
}

// size is the number of bytes below a folder.
func size(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if info, err := d.Info(); err == nil {
				n += info.Size()
			}
		}
		return nil
	})
	return n
}

// empty fails unless the spool is empty.
func empty(t *testing.T, dir string) {
	t.Helper()
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("the spool holds %v, %v", left, err)
	}
}

func TestADirectoryIsOneTarWithTheTableOfContentsLast(t *testing.T) {
	t.Parallel()
	dsn := database(t, cluster, many(30))
	for _, jobs := range []int{0, 1, 3, 16} {
		dir := t.TempDir()
		dump := open(t, pgdump.Config{Spool: area(t, dir)}, parallel(dsn, jobs, "big"))
		out, err := io.ReadAll(dump)
		if err != nil {
			t.Fatalf("%d jobs: %v", jobs, err)
		}
		if left := size(dir); left != 0 {
			t.Errorf("%d jobs: %d bytes are left before Close", jobs, left)
		}
		if err := dump.Close(); err != nil {
			t.Error(err)
		}
		empty(t, dir)
		contents, err := archive.Check(bytes.NewReader(out), export.Directory)
		if err != nil || len(contents.Tables) != 30 || contents.Rows() != 6000 {
			t.Errorf("%d jobs: %d tables, %d rows, %v", jobs, len(contents.Tables), contents.Rows(), err)
		}
		unpacked := t.TempDir()
		last, r := "", tar.NewReader(bytes.NewReader(out))
		for h, err := r.Next(); err != io.EOF; h, err = r.Next() {
			if err != nil || h.Mode != 0o600 || !h.ModTime.Equal(time.Unix(0, 0)) {
				t.Fatalf("member %+v, %v", h, err)
			}
			b, err := io.ReadAll(r)
			if err == nil {
				err = os.WriteFile(filepath.Join(unpacked, filepath.Base(h.Name)), b, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			last = h.Name
		}
		if last != "toc.dat" {
			t.Errorf("%d jobs: the last member is %s", jobs, last)
		}
		script, err := exec.CommandContext(t.Context(), filepath.Join(cluster.BinDir, "pg_restore"), "-Fd", "--file=-", unpacked).Output()
		if n := strings.Count(string(script), "\nCOPY "); err != nil || n != 30 {
			t.Errorf("%d jobs: pg_restore reads %d tables, %v", jobs, n, err)
		}
	}
}

func TestHowManyJobs(t *testing.T) {
	t.Parallel()
	small, big := database(t, cluster, many(8)), database(t, cluster, many(3)+large[strings.Index(large, "CREATE TABLE"):]+`
INSERT INTO big.t SELECT * FROM big.t; ANALYZE`) // 80 MB
	for _, c := range []struct {
		dsn                  string
		asked, allowed, want int
	}{
		{small, 3, 16, 3},
		{small, 16, 2, 2},
		{small, 16, 0, 4},  // the default
		{small, 16, 16, 8}, // no more than there are tables
		{small, 0, 16, 1},
		{big, 0, 16, min(runtime.GOMAXPROCS(0), 5)},
		{big, 0, 1, 1},
	} {
		told := filepath.Join(t.TempDir(), "arguments")
		dump := open(t, pgdump.Config{ParallelJobs: c.allowed, BinDirs: fake(t, `echo "$@" >`+told+`; exit 1`)}, parallel(c.dsn, c.asked, "big"))
		fault(t, readUntilError(t, dump), codes.DumpFailed)
		arguments, err := os.ReadFile(told)
		if err != nil {
			t.Fatal(err)
		}
		contains(t, fmt.Sprintf("arguments of %+v", c), string(arguments), fmt.Sprintf(" --jobs=%d ", c.want))
	}
}

// stopped says whether all processes of a group are stopped.
func stopped(t *testing.T, id int) bool {
	t.Helper()
	found := group(t, id)
	for _, stat := range found {
		if _, rest, _ := strings.Cut(stat, ") "); !strings.HasPrefix(rest, "T") {
			return false
		}
	}
	return len(found) > 0
}

func TestPgDumpIsPausedWhileTheSpoolIsOverItsBound(t *testing.T) {
	t.Parallel()
	const bound = 2 << 20
	dsn := database(t, cluster, many(60)) // some 12 MiB
	dir := t.TempDir()
	dump := open(t, pgdump.Config{Spool: area(t, dir), SpoolBytes: bound}, parallel(dsn, 2, "big"))
	var out bytes.Buffer
	out.WriteString(read(t, dump, 1))
	pid := pgdump.ProcessID(dump)
	eventually(t, "pg_dump is paused", func() bool { return stopped(t, pid) })
	if n := size(dir); n < bound/2 {
		t.Errorf("it is paused at %d bytes", n)
	}
	if _, err := io.Copy(&out, dump); err != nil {
		t.Fatal(err)
	}
	contents, err := archive.Check(&out, export.Directory)
	if err != nil || contents.Rows() != 12000 {
		t.Errorf("%d rows, %v", contents.Rows(), err)
	}
}

func TestATableLargerThanTheSpoolFails(t *testing.T) {
	t.Parallel()
	dsn := database(t, cluster, large) // a table of 40 MB
	dir := t.TempDir()
	dump := open(t, pgdump.Config{Spool: area(t, dir), SpoolBytes: 1 << 20}, parallel(dsn, 2, "big"))
	if f := fault(t, readUntilError(t, dump), codes.SpoolLimit); !f.Code.Permanent() {
		t.Errorf("%s is not permanent", f.Code)
	}
	if err := dump.Close(); err != nil {
		t.Error(err)
	}
	empty(t, dir)
	noSessionIsLeft(t, dsn)
}

func TestADirectoryNeedsASpool(t *testing.T) {
	t.Parallel()
	d, err := pgdump.New(pgdump.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.Open(t.Context(), parallel(database(t, cluster, simple), 1, "s"))
	fault(t, err, codes.SpoolUnavailable)
}

// If a dump is closed while pg_dump is paused, pg_dump ends and leaves nothing.
func TestCloseOfAPausedDumpLeavesNothing(t *testing.T) {
	t.Parallel()
	dsn := database(t, cluster, many(60))
	dir := t.TempDir()
	dump := open(t, pgdump.Config{Spool: area(t, dir), SpoolBytes: 1 << 20}, parallel(dsn, 2, "big"))
	read(t, dump, 1)
	pid := pgdump.ProcessID(dump)
	eventually(t, "pg_dump is paused", func() bool { return stopped(t, pid) })
	if err := dump.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "no process of the group is left", func() bool { return len(group(t, pid)) == 0 })
	empty(t, dir)
	noSessionIsLeft(t, dsn)
}

func TestAKilledPgDumpOfADirectoryIsAFailure(t *testing.T) {
	t.Parallel()
	dsn := database(t, cluster, many(60))
	for _, who := range []string{"the leader", "a worker"} {
		dir := t.TempDir()
		dump := open(t, pgdump.Config{Spool: area(t, dir), SpoolBytes: 1 << 20}, parallel(dsn, 2, "big"))
		read(t, dump, 1)
		leader := pgdump.ProcessID(dump)
		eventually(t, "pg_dump is paused", func() bool { return stopped(t, leader) })
		victim := leader
		for _, stat := range group(t, leader) {
			if pid, err := strconv.Atoi(strings.Fields(stat)[0]); err == nil && pid != leader && who == "a worker" {
				victim = pid
			}
		}
		if err := syscall.Kill(victim, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		fault(t, readUntilError(t, dump), codes.DumpFailed)
		if err := dump.Close(); err != nil {
			t.Error(err)
		}
		empty(t, dir)
		eventually(t, who+": nothing is left", func() bool { return len(group(t, leader)) == 0 })
		noSessionIsLeft(t, dsn)
	}
}

// A worker that is killed while its pg_dump is paused leaves no processes and, once another worker
// starts, no files.
func TestAKilledWorkerLeavesNothingInTheSpool(t *testing.T) {
	t.Parallel()
	for name, env := range map[string][]string{
		"with init in another session":  nil,
		"with init in the same session": {initVariable + "=1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := database(t, cluster, many(60))
			dir := t.TempDir()
			pid := killedWorker(t, dsn, append(env, spoolVariable+"="+dir)...)
			eventually(t, "pg_dump has ended", func() bool { return len(group(t, pid)) == 0 })
			noSessionIsLeft(t, dsn)
			if size(dir) == 0 {
				t.Error("it left nothing to be removed")
			}
			area(t, dir)
			empty(t, dir)
		})
	}
}

func TestADirectoryThatPgDumpDidNotWriteWhole(t *testing.T) {
	t.Parallel()
	dsn := database(t, cluster, simple)
	const folder = `for a; do case "$a" in --file=*) cd "${a#--file=}";; esac; done; `
	for name, c := range map[string]struct {
		body string
		code codes.Code
	}{
		"no table of contents":     {`printf '\\.\n' >7.dat`, codes.DumpIncomplete},
		"nothing":                  {`:`, codes.DumpIncomplete},
		"a file of another kind":   {`echo x >notes; echo x >toc.dat`, codes.DumpIncomplete},
		"a folder":                 {`mkdir 7.dat; echo x >toc.dat`, codes.DumpIncomplete},
		"a link":                   {`ln -s /etc/passwd 7.dat; echo x >toc.dat`, codes.DumpIncomplete},
		"half, and a failure":      {`printf 'x' >7.dat; exit 1`, codes.DumpFailed},
		"hangs":                    {`exec sleep 1000`, codes.DumpStalled},
		"closes its file, and not": {`printf 'x' >7.dat; exec sleep 1000`, codes.DumpStalled},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			dump := open(t, pgdump.Config{
				BinDirs: fake(t, folder+c.body), Spool: area(t, dir), KillDelay: 100 * time.Millisecond,
			}, parallel(dsn, 1, "s"))
			if c.code == codes.DumpStalled {
				pgdump.Limit(dump, time.Hour, 2*time.Second)
			}
			fault(t, readUntilError(t, dump), c.code)
			if err := dump.Close(); err != nil {
				t.Error(err)
			}
			empty(t, dir)
		})
	}
}

// A file that grows after it was closed is not one of pg_dump's.
func TestAFileThatIsWrittenAgainIsRefused(t *testing.T) {
	t.Parallel()
	release := filepath.Join(t.TempDir(), "release")
	dump := open(t, pgdump.Config{BinDirs: fake(t, `for a; do case "$a" in --file=*) cd "${a#--file=}";; esac; done
exec 5>keep; printf '1\n' >7.dat; exec 6>>7.dat; until [ -e `+release+` ]; do sleep 0.01; done; echo more >&6; touch `+release+`.done; sleep 1000`)},
		parallel(database(t, cluster, simple), 1, "s"))
	read(t, dump, 512)
	if err := os.WriteFile(release, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it was written again", func() bool { _, err := os.Stat(release + ".done"); return err == nil })
	err := readUntilError(t, dump)
	contains(t, "error", err.Error(), "changed after it was closed")
}

func FuzzNotices(f *testing.F) {
	notice := func(mask uint32, name string) []byte {
		b := make([]byte, 16, 32)
		b[4], b[5] = byte(mask), byte(mask>>8)
		b[12] = 16
		return append(b, append([]byte(name), make([]byte, 16-len(name))...)...)
	}
	f.Add(append(notice(unix.IN_CREATE, "7.dat"), notice(unix.IN_CLOSE_WRITE, "toc.dat")...))
	f.Add(notice(unix.IN_CREATE, "../x")[:20])
	f.Add(notice(unix.IN_Q_OVERFLOW, ""))
	a, err := spool.Open(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	folder, err := a.Folder()
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = folder.Close() })
	f.Fuzz(func(t *testing.T, b []byte) {
		err := pgdump.ReadNotices(folder, b)
		if f, ok := errors.AsType[*export.Fault](err); err != nil && (!ok || f.Code != codes.SpoolUnavailable) {
			t.Errorf("error = %v", err)
		}
	})
}
