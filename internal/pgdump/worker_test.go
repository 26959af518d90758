package pgdump_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgdump"
	"github.com/pgcourier/pgcourier/internal/seal"
)

// workerVariable makes the test binary a worker that dumps until it is killed.
const workerVariable = "PGDUMP_TEST_WORKER"

func beWorker(dsn string) {
	d, err := pgdump.New(pgdump.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	dump, err := d.Open(context.Background(), export.DumpJob{
		Project: export.Project{DSN: export.Secret(dsn)}, Schemas: []string{"big"}, Format: seal.SQL,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := dump.Read(make([]byte, 1)); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(pgdump.ProcessID(dump))
	select {}
}

func TestAKilledWorkerTakesPgDumpWithIt(t *testing.T) {
	t.Parallel()
	dsn := database(t, cluster, large)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	worker := exec.CommandContext(t.Context(), self)
	worker.Env = append(os.Environ(), workerVariable+"="+dsn)
	out, err := worker.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	pid, notNumber := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || notNumber != nil {
		t.Fatalf("the worker said %q, %v", line, err)
	}
	if len(group(t, pid)) != 1 || sessions(t, dsn) != 2 {
		t.Fatalf("%d processes and %d sessions, want 1 and 2", len(group(t, pid)), sessions(t, dsn))
	}
	if err := worker.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = worker.Wait() // "signal: killed"
	eventually(t, "pg_dump has ended", func() bool { return len(group(t, pid)) == 0 })
	eventually(t, "its session and the snapshot's have ended", func() bool { return sessions(t, dsn) == 0 })
}
