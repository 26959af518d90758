package pgcluster_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/internal/pgcluster"
	"github.com/pgcourier/pgcourier/internal/sandbox"
)

// starterEnv makes the test binary start a cluster ("memory" or "disk"), print its folder and wait.
const starterEnv = "PGCLUSTER_TEST_STARTER"

func TestMain(m *testing.M) {
	sandbox.Enter()
	if os.Getenv(starterEnv) != "" {
		c, err := pgcluster.Start(context.Background(), pgcluster.Config{InMemory: os.Getenv(starterEnv) == "memory"})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(c.Folder)
		select {}
	}
	os.Exit(m.Run())
}

func TestAServerEndsWithItsStarter(t *testing.T) {
	t.Parallel()
	folder, kill := starter(t, "disk")
	defer func() { _ = os.RemoveAll(folder) }()
	if _, err := os.Stat(lockFile(folder)); err != nil {
		t.Fatal(err)
	}
	kill()
	awaitEnd(t, folder)
}

func TestAFolderInMemoryIsRemovedAfterItsStarter(t *testing.T) {
	t.Parallel()
	folder, kill := starter(t, "memory")
	if !strings.HasPrefix(folder, "/dev/shm/") {
		t.Skip("less than 4 GiB are free in /dev/shm")
	}
	next := func() {
		c, err := pgcluster.Start(t.Context(), pgcluster.Config{InMemory: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	}
	next()
	if _, err := os.Stat(lockFile(folder)); err != nil {
		t.Errorf("a running cluster was touched: %v", err)
	}
	kill()
	awaitEnd(t, folder) // it may write until then
	next()
	if _, err := os.Stat(folder); !os.IsNotExist(err) {
		t.Errorf("stat %s after another start: %v, want not exist", folder, err)
	}
}

// lockFile is the server's. It removes it as the last thing it does.
func lockFile(folder string) string { return filepath.Join(folder, "data", "postmaster.pid") }

func awaitEnd(t *testing.T, folder string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(lockFile(folder)); os.IsNotExist(err) {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the server runs a minute after its starter was killed")
		}
	}
}

// starter runs a process that starts a cluster, and returns the cluster's folder. Kill returns
// once the process has ended.
func starter(t *testing.T, where string) (folder string, kill func()) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), starterEnv+"="+where)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	folder, err = bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(errors.Join(err, cmd.Wait()))
	}
	return strings.TrimSpace(folder), func() {
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait() // it was killed
	}
}

// TestAWrappedServerReachesNothing lets a superuser of the server do its worst, which is more
// than the login may that exports are rehearsed with.
func TestAWrappedServerReachesNothing(t *testing.T) {
	t.Parallel()
	for name, landlock := range map[string]bool{"namespaces": false, "Landlock": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wrappedReachesNothing(t, landlock)
		})
	}
}

func wrappedReachesNothing(t *testing.T, landlock bool) {
	t.Helper()
	if landlock {
		cmd := exec.CommandContext(t.Context(), "/bin/true")
		if err := errors.Join(sandbox.Box{Landlock: true}.Wrap(cmd), cmd.Run()); err != nil {
			t.Skipf("this kernel or container has no Landlock that confines TCP: %v", err)
		}
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("canary"), 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	c, err := pgcluster.Start(t.Context(), pgcluster.Config{Wrap: func(cmd *exec.Cmd, uid, gid uint32, folder string) error {
		return sandbox.Box{Writable: []string{folder}, UID: uid, GID: gid, Landlock: landlock}.Wrap(cmd)
	}})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), c.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	program := func(script string) error {
		_, err := conn.Exec(t.Context(), "CREATE TEMP TABLE IF NOT EXISTS got (line text); COPY got FROM PROGRAM '"+strings.ReplaceAll(script, "'", "''")+"'", pgx.QueryExecModeSimpleProtocol)
		return err
	}
	if err := program("echo works"); err != nil {
		t.Errorf("a program does not run at all: %v", err)
	}
	for what, script := range map[string]string{
		"read a file of the machine":            "cat " + secret,
		"connect to a port of the machine":      fmt.Sprintf("bash -c 'exec 3<>/dev/tcp/127.0.0.1/%d'", l.Addr().(*net.TCPAddr).Port),
		"look into the process that started it": fmt.Sprintf("ls /proc/%d", os.Getpid()),
		"write to the system":                   "touch /usr/canary",
	} {
		if err := program(script); err == nil {
			t.Errorf("a superuser of the server may %s", what)
		}
	}
	if err := conn.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if err := c.Stop(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(c.Folder); !os.IsNotExist(err) {
		t.Errorf("the folder is still there: %v", err)
	}
}
