package pgdump_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgdump"
	"github.com/pgcourier/pgcourier/internal/spool"
)

// workerVariable makes the test binary a worker that dumps until it is killed.
const workerVariable = "PGDUMP_TEST_WORKER"

// spoolVariable names a spool for its dump.
const spoolVariable = "PGDUMP_TEST_SPOOL"

func beWorker(dsn string) {
	config, format := pgdump.Config{}, export.SQL
	var err error
	if dir := os.Getenv(spoolVariable); dir != "" {
		format, config.SpoolBytes = export.Directory, 1<<20 // two open tables fit, all do not: it is paused with some to read
		config.Spool, err = spool.Open(dir)
	}
	d, noTool := pgdump.New(config)
	if err = errors.Join(err, noTool); err != nil {
		fmt.Println(err)
		return
	}
	dump, err := d.Open(context.Background(), export.DumpJob{
		Project: export.Project{DSN: export.Secret(dsn)}, Schemas: []string{"big"}, Format: format, Jobs: 2,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := dump.Read(make([]byte, 1)); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(os.Getpid(), pgdump.ProcessID(dump))
	select {}
}

// initVariable makes the test binary a small init, which starts such a worker in its own session
// and reaps every process that it leaves.
const initVariable = "PGDUMP_TEST_INIT"

func beInit() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return err
	}
	worker := &exec.Cmd{Path: "/proc/self/exe", Args: os.Args, Stdout: os.Stdout}
	worker.Env = slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, initVariable) })
	if err := worker.Start(); err != nil {
		return err
	}
	for {
		if _, err := syscall.Wait4(-1, nil, 0, nil); errors.Is(err, syscall.ECHILD) {
			return nil
		}
	}
}

// killedWorker starts such a worker, kills it, and returns the id of its pg_dump.
func killedWorker(t *testing.T, dsn string, env ...string) (pid int) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	worker := exec.CommandContext(t.Context(), self)
	worker.Env = append(append(os.Environ(), workerVariable+"="+dsn), env...)
	out, err := worker.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	var id int
	if _, notNumbers := fmt.Sscan(line, &id, &pid); err != nil || notNumbers != nil {
		t.Fatalf("the worker said %q, %v", line, err)
	}
	if len(env) > 0 {
		eventually(t, "pg_dump is paused", func() bool { return stopped(t, pid) })
	} else if processes, n := len(group(t, pid)), sessions(t, connect(t, dsn)); processes != 1 || n != 2 {
		t.Fatalf("%d processes and %d sessions, want 1 and 2", processes, n)
	}
	if err := syscall.Kill(id, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = worker.Wait() }) // "signal: killed", or init once nothing is left
	return pid
}

func TestAKilledWorkerTakesPgDumpWithIt(t *testing.T) {
	t.Parallel()
	dsn := database(t, cluster, large)
	pid := killedWorker(t, dsn)
	eventually(t, "pg_dump has ended", func() bool { return len(group(t, pid)) == 0 })
	noSessionIsLeft(t, dsn)
}
