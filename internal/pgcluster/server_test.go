package pgcluster_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/internal/pgcluster"
	"github.com/pgcourier/pgcourier/internal/sandbox"
)

func TestMain(m *testing.M) {
	sandbox.Enter()
	os.Exit(m.Run())
}

// TestAWrappedServerReachesNothing lets a superuser of the server do its worst, which is more
// than the login may that exports are rehearsed with.
func TestAWrappedServerReachesNothing(t *testing.T) {
	t.Parallel()
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
		return sandbox.Box{Writable: []string{folder}, UID: uid, GID: gid}.Wrap(cmd)
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
		"read a file of the machine":          "cat " + secret,
		"connect to a port of the machine":    fmt.Sprintf("bash -c 'exec 3<>/dev/tcp/127.0.0.1/%d'", l.Addr().(*net.TCPAddr).Port),
		"look up the process that started it": fmt.Sprintf("test -d /proc/%d", os.Getpid()),
		"write to the system":                 "touch /usr/canary",
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
