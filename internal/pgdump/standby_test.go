package pgdump_test

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgcluster"
	"github.com/pgcourier/pgcourier/internal/pgcluster/freeport"
	"github.com/pgcourier/pgcourier/internal/pgdump"
	"github.com/pgcourier/pgcourier/internal/pgdump/archive"
)

func TestStandby(t *testing.T) {
	t.Parallel()
	primary := ownCluster(t)
	dsn := database(t, primary, simple+"CREATE UNLOGGED TABLE s.unlogged AS SELECT 1 a")
	standby := standbyOf(t, primary)
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = standby
	for _, f := range formats {
		t.Run(string(f), func(t *testing.T) {
			dump := open(t, pgdump.Config{}, job(u.String(), f, "s"))
			contents, err := archive.Check(dump, f)
			if err != nil {
				t.Fatal(err)
			}
			rows, err := dump.Rows(t.Context())
			if want := map[export.Table]int64{{Schema: "s", Name: "t"}: 3}; err != nil || !maps.Equal(rows, want) || !maps.Equal(contents.Tables, want) {
				t.Errorf("counted %v, %v; in the stream %v; want %v", rows, err, contents.Tables, want)
			}
			contains(t, "warnings", strings.Join(dump.Info().Warnings, "; "),
				`the source is a standby, which has no rows of unlogged tables: "s"."unlogged"`)
		})
	}
}

// standbyOf starts a standby beside a primary, and returns its host and port.
func standbyOf(t *testing.T, primary *pgcluster.Cluster) string {
	t.Helper()
	info, err := os.Stat(filepath.Join(primary.Folder, "data"))
	if err != nil {
		t.Fatal(err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	data := filepath.Join(primary.Folder, "standby") // Stop removes it
	run := func(tool string, args ...string) {
		cmd := exec.CommandContext(context.WithoutCancel(t.Context()), filepath.Join(primary.BinDir, tool), args...)
		cmd.Dir = primary.Folder
		cmd.Env = []string{"LC_ALL=C", "PATH=" + primary.BinDir}
		if os.Geteuid() == 0 {
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: owner.Uid, Gid: owner.Gid}}
		}
		// A file: a pipe that the server inherits would keep Run from returning.
		out, err := os.CreateTemp(t.TempDir(), "out")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = out.Close() }()
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Run(); err != nil {
			text, _ := os.ReadFile(out.Name())
			t.Fatalf("%s: %v: %s", tool, err, text)
		}
	}
	run("pg_basebackup", "--pgdata="+data, "--write-recovery-conf", "--checkpoint=fast", "--no-sync", "--dbname="+primary.URL(""))
	port, err := freeport.Get()
	if err != nil {
		t.Fatal(err)
	}
	server := []string{"--pgdata=" + data, "--wait", "--log=" + filepath.Join(primary.Folder, "standby.log")}
	run("pg_ctl", append(server, fmt.Sprintf("--options=-p %d", port), "start")...)
	t.Cleanup(func() { run("pg_ctl", append(server, "--mode=immediate", "stop")...) })
	return fmt.Sprintf("127.0.0.1:%d", port)
}
