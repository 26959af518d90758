package main_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/events"
)

// oldClients is a folder of client tools that work and say they are 15.13.
func oldClients(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, tool := range []string{"pg_dump", "psql", "pg_restore"} {
		script := fmt.Sprintf("#!/bin/sh\n[ \"$1\" = --version ] && exec echo '%s (PostgreSQL) 15.13'\nexec %s \"$@\"\n", tool, filepath.Join(cluster.BinDir(), tool))
		install(t, filepath.Join(dir, tool), script)
	}
	return dir
}

func TestToolsWithPublishedFaultsAreToldOrRefused(t *testing.T) {
	t.Parallel()
	p := setup(t)
	old := "PG_BIN_DIR=" + oldClients(t)
	w := p.start(old)
	w.awaitLog("client tool with published faults")
	for _, want := range []string{"CVE-2025-8714", "install 15.19 or a later release"} {
		if !strings.Contains(w.logs.String(), want) {
			t.Errorf("the worker's log lacks %q", want)
		}
	}
	id := p.request(events.Requested{ProjectID: "globex", RequestID: "old"})
	p.completed("globex", id)

	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"serve"}, "pg_dump 15.13"},
		{[]string{"serve", "--roles", "verifier"}, "pg_restore 15.13"},
		{[]string{"verify", "globex/old", "--restore"}, "psql 15.13"},
		{[]string{"restore", "globex/old", "--to", "postgres://nobody@127.0.0.1:1/none"}, "psql 15.13"},
	} {
		_, out, code := p.cliWith([]string{old, "CLIENT_CHECK=refuse"}, c.args...)
		if code != 2 || !strings.Contains(out, c.want) || !strings.Contains(out, "or a later release") {
			t.Errorf("%v with CLIENT_CHECK=refuse: exit code %d, %s", c.args, code, out)
		}
	}
	// Reading back runs none of them.
	if _, out, code := p.cliWith([]string{old, "CLIENT_CHECK=refuse"}, "verify", "globex/old"); code != 0 {
		t.Errorf("verify without --restore: exit code %d, %s", code, out)
	}
	if _, out, _ := p.cliWith([]string{old, "CLIENT_CHECK=off"}, "restore", "globex/old", "--to", "postgres://nobody@127.0.0.1:1/none"); strings.Contains(out, "CVE") {
		t.Errorf("with CLIENT_CHECK=off: %s", out)
	}
}
