package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/pgcluster/contents"
)

// result is the result of one command.
type result struct {
	code           int
	stdout, stderr string
}

// command runs one command of pgcourier with these settings only.
func command(t *testing.T, settings []string, args ...string) result {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "pgcourier", args...)
	cmd.Dir = t.TempDir()
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "AWS_ACCESS_KEY_ID=key", "AWS_SECRET_ACCESS_KEY=secret"}
	for _, s := range settings {
		cmd.Env = append(cmd.Env, "PGCOURIER_"+s)
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// expect runs a command that must end with this exit code and this output.
func expect(t *testing.T, settings []string, code int, say string, args ...string) result {
	t.Helper()
	r := command(t, settings, args...)
	if r.code != code || !strings.Contains(r.stdout+r.stderr, say) {
		t.Fatalf("pgcourier %s: exit %d, want %d saying %q\n%s%s", strings.Join(args, " "), r.code, code, say, r.stdout, r.stderr)
	}
	return r
}

// kept are encrypted exports in a folder, and the identity's file.
type kept struct {
	*platform
	bare     []string // settings: the storage alone
	identity string   // the file
	other    string   // a foreign one
	exports  map[string]*events.Completed
}

func keep(t *testing.T, requests ...events.Requested) *kept {
	t.Helper()
	k := &kept{platform: setup(t), exports: map[string]*events.Completed{}}
	k.expectVerifier()
	var recipient string
	k.identity, recipient = identityFile(t)
	k.other, _ = identityFile(t)
	w := k.start("AGE_RECIPIENTS=" + recipient)
	for _, r := range requests {
		k.request(r)
		k.exports[r.RequestID] = k.completed(r.ProjectID, r.RequestID)
	}
	k.settled()
	w.term()
	w.await()
	k.bare = []string{"STORAGE=file://" + k.storage}
	return k
}

// identityFile returns the file of a new identity, and its recipient.
func identityFile(t *testing.T) (file, recipient string) {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "key.txt")
	if err := os.WriteFile(file, []byte("# a test's\n"+id.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, id.Recipient().String()
}

// emptyDatabase is a new database's URL, in a file.
func emptyDatabase(t *testing.T, name string) (url, file string) {
	t.Helper()
	if err := executeIn(t.Context(), "postgres", "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "url")
	if err := os.WriteFile(file, []byte(cluster.URL(name)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return cluster.URL(name), file
}

func TestAnExportSurvivesTheLossOfItsLedger(t *testing.T) {
	t.Parallel()
	k := keep(t,
		events.Requested{ProjectID: "acme", RequestID: "one", RequestedBy: "<ops> & co", Metadata: map[string]string{"ticket": "4711"}},
		events.Requested{ProjectID: "quoted", RequestID: "two", Format: events.FormatCustom, Compression: events.CompressionZstd})
	ledger := append([]string{"DATABASE_URL=" + cluster.URL(k.database)}, k.bare...)
	before := expect(t, ledger, 0, "completed", "show", "one", "--output", "json").stdout
	if err := executeIn(t.Context(), k.database, "DROP SCHEMA pgcourier CASCADE"); err != nil {
		t.Fatal(err)
	}
	expect(t, ledger, 2, "--identity FILE", "recover")
	expect(t, ledger, 0, "2 exports are stored: 2 requests recovered, 0 were known", "recover", "-i", k.identity)
	expect(t, ledger, 0, "2 exports are stored: 0 requests recovered, 2 were known", "recover", "-i", k.identity)
	expect(t, ledger, 0, "two", "list", "--state", "completed")
	var was, is map[string]any
	after := expect(t, ledger, 0, "completed", "show", "one", "--output", "json").stdout
	for text, into := range map[string]*map[string]any{before: &was, after: &is} {
		if err := json.Unmarshal([]byte(text), into); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
	}
	for _, field := range []string{"project_id", "request_id", "state", "attempt", "requested_by", "metadata", "request"} {
		a, _ := json.Marshal(was[field]) // decoded before: it encodes
		b, _ := json.Marshal(is[field])  // decoded before: it encodes
		if !bytes.Equal(a, b) {
			t.Errorf("%s is %s, was %s", field, b, a)
		}
	}
	a, _ := json.Marshal(was["outcome"].(map[string]any)["artifact"]) // decoded before: it encodes
	b, _ := json.Marshal(is["outcome"].(map[string]any)["artifact"])  // decoded before: it encodes
	if !bytes.Equal(a, b) {
		t.Errorf("the artifact is\n%s, was\n%s", b, a)
	}

	for i, id := range []string{"acme/one", "two"} {
		url, file := emptyDatabase(t, k.database+"_"+id[len(id)-3:])
		expect(t, k.bare, 0, "counted there", "restore", id, "--to-file", file, "-i", k.identity)
		schemas := [][]string{{"tenant_acme"}, {`Ten*ant "x"`}}[i]
		want, err := contents.Read(t.Context(), k.sql(), schemas)
		if err != nil {
			t.Fatal(err)
		}
		got, err := contents.Read(t.Context(), connectTo(t, url), schemas)
		if err != nil {
			t.Fatal(err)
		}
		if diffs := contents.Compare(want, got); len(diffs) > 0 || len(got) == 0 {
			t.Errorf("%s: %v of %d", id, diffs, len(got))
		}
		expect(t, k.bare, 1, "--clean", "restore", id, "--to-file", file, "-i", k.identity)
		expect(t, k.bare, 0, "counted there", "restore", id, "--to-file", file, "-i", k.identity, "--clean")
		expect(t, k.bare, 2, "not with --replace", "restore", id, "--to-file", file, "-i", k.identity, "--clean", "--replace")
		expect(t, k.bare, 0, "moved aside: schema", "restore", id, "--to-file", file, "-i", k.identity, "--replace", "--plan")
		expect(t, k.bare, 0, "kept: schema", "restore", id, "--to-file", file, "-i", k.identity, "--replace")
		if i == 0 {
			// Through a temporary server in the sandbox.
			expect(t, k.bare, 0, "into schema copy", "restore", id, "--to-file", file, "-i", k.identity, "--schema-as", "copy", "--restore-id", "copy")
		}
		if got, err = contents.Read(t.Context(), connectTo(t, url), schemas); err != nil {
			t.Fatal(err)
		}
		if diffs := contents.Compare(want, got); len(diffs) > 0 {
			t.Errorf("%s replaced: %v", id, diffs)
		}
	}
	// A worker that finds the recovered ledger answers an old message from it.
	k.request(events.Requested{ProjectID: "acme", RequestID: "three"})
	k.start()
	k.completed("acme", "three")
}

func connectTo(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}
