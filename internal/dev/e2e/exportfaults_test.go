package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/pgcluster/contents"
)

func TestEachFaultOfAnExportHasItsExitCode(t *testing.T) {
	t.Parallel()
	k := keep(t, events.Requested{ProjectID: "quoted", RequestID: "one"}, events.Requested{ProjectID: "quoted", RequestID: "two"})
	one, two := keyOf(t, k.exports["one"]), keyOf(t, k.exports["two"])
	at, target := emptyDatabase(t, k.database+"_faults")
	edit := func(t *testing.T, file string, change func([]byte) []byte) {
		t.Helper()
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, change(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	read := func(t *testing.T, file string) []byte {
		t.Helper()
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for name, c := range map[string]struct {
		damage func(t *testing.T, dir string)
		flags  []string
		code   int
		say    string
	}{
		"nothing":                        {func(*testing.T, string) {}, []string{"-i", k.identity}, 0, ""},
		"no identity":                    {func(*testing.T, string) {}, nil, 2, "--identity FILE"},
		"another identity":               {func(*testing.T, string) {}, []string{"-i", k.other}, 2, "no identity fits"},
		"no identity file":               {func(*testing.T, string) {}, []string{"-i", "/nonexistent"}, 2, "read identity"},
		"a flipped bit":                  {func(t *testing.T, dir string) { flip(t, filepath.Join(dir, one), -10) }, []string{"-i", k.identity}, 4, "damaged"},
		"a flipped bit at the beginning": {func(t *testing.T, dir string) { flip(t, filepath.Join(dir, one), 50) }, []string{"-i", k.identity}, 4, "damaged"},
		"cut short": {func(t *testing.T, dir string) {
			edit(t, filepath.Join(dir, one), func(b []byte) []byte { return b[:len(b)-1] })
		}, []string{"-i", k.identity}, 4, "damaged"},
		"longer": {func(t *testing.T, dir string) {
			edit(t, filepath.Join(dir, one), func(b []byte) []byte { return append(b, 0) })
		}, []string{"-i", k.identity}, 4, "damaged"},
		"missing": {func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, one)); err != nil {
				t.Fatal(err)
			}
		}, []string{"-i", k.identity}, 4, "not found in storage"},
		"another export's bytes": {func(t *testing.T, dir string) {
			edit(t, filepath.Join(dir, one), func([]byte) []byte { return read(t, filepath.Join(dir, two)) })
		}, []string{"-i", k.identity}, 4, "damaged"},
		"another export's manifest": {func(t *testing.T, dir string) {
			edit(t, filepath.Join(dir, one+".manifest.json"), func([]byte) []byte { return read(t, filepath.Join(dir, two+".manifest.json")) })
		}, []string{"-i", k.identity}, 4, "foreign"},
		"a later manifest": {func(t *testing.T, dir string) {
			edit(t, filepath.Join(dir, one+".manifest.json"), func(b []byte) []byte { return bytes.Replace(b, []byte(`"version": 1`), []byte(`"version": 9`), 1) })
		}, []string{"-i", k.identity}, 4, "unknown manifest version"},
		"a manifest that was edited": {func(t *testing.T, dir string) { flip(t, filepath.Join(dir, one+".manifest.json"), -40) }, []string{"-i", k.identity}, 4, "damaged"},
		"no manifest": {func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, one+".manifest.json")); err != nil {
				t.Fatal(err)
			}
		}, []string{"-i", k.identity}, 3, "no export"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := k.copyStorage(t)
			c.damage(t, dir)
			bare := []string{"STORAGE=file://" + dir}
			expect(t, bare, c.code, c.say, append([]string{"verify", "one"}, c.flags...)...)
			if c.code == 0 {
				return
			}
			expect(t, bare, c.code, c.say, append([]string{"restore", "one", "--to-file", target}, c.flags...)...)
			r := expect(t, bare, c.code, c.say, append([]string{"download", "quoted/one", "--plain", "--to", "-"}, c.flags...)...)
			if r.stdout != "" {
				t.Errorf("%d bytes went to standard output", len(r.stdout))
			}
		})
	}
	conn := connectTo(t, at)
	var schemas int
	if err := conn.QueryRow(t.Context(), `SELECT count(*) FROM pg_namespace WHERE nspname = 'Ten*ant "x"'`).Scan(&schemas); err != nil || schemas != 0 {
		t.Errorf("something was restored: %d, %v", schemas, err)
	}
	expect(t, k.bare, 5, "", "restore", "one", "-i", k.identity, "--to", "postgres://nobody@127.0.0.1:1/x")
	expect(t, k.bare, 2, "--to-file", "restore", "one", "-i", k.identity)
	r := expect(t, k.bare, 2, "password on the command line", "restore", "one", "-i", k.identity, "--to", "postgres://u:canary@h/d")
	if strings.Contains(r.stderr, "canary") {
		t.Errorf("the error repeats the password: %s", r.stderr)
	}
}

func TestDownloadResumesAndNamesOnlyWhatIsWhole(t *testing.T) {
	t.Parallel()
	k := keep(t, events.Requested{ProjectID: "acme", RequestID: "one"})
	file := filepath.Join(t.TempDir(), "one.age")
	stored, err := os.ReadFile(filepath.Join(k.storage, keyOf(t, k.exports["one"])))
	if err != nil {
		t.Fatal(err)
	}
	// The rest of an interrupted download is fetched, for any length. No identity is needed.
	for _, n := range []int{0, 1, len(stored) / 2, len(stored), len(stored) + 5} {
		part := append(bytes.Clone(stored), "extra"...)[:n]
		if err := os.WriteFile(file+".part", part, 0o600); err != nil {
			t.Fatal(err)
		}
		expect(t, k.bare, 0, k.exports["one"].SHA256, "download", "one", "--to", file, "--force")
		got, err := os.ReadFile(file)
		if err != nil || !bytes.Equal(got, stored) {
			t.Errorf("after %d bytes: %d bytes, want %d, %v", n, len(got), len(stored), err)
		}
	}
	expect(t, k.bare, 2, "exists", "download", "one", "--to", file)
	// A part of another file never gets the name.
	other := filepath.Join(t.TempDir(), "other")
	if err := os.WriteFile(other+".part", []byte("something else"), 0o600); err != nil {
		t.Fatal(err)
	}
	expect(t, k.bare, 4, "another hash", "download", "one", "--to", other)
	for _, name := range []string{other, other + ".part"} {
		if _, err := os.Stat(name); !os.IsNotExist(err) {
			t.Errorf("%s is there: %v", name, err)
		}
	}
	var out struct{ File, SHA256 string }
	if err := json.Unmarshal([]byte(expect(t, k.bare, 0, "", "download", "one", "-o", other, "--output", "json").stdout), &out); err != nil || out.File != other {
		t.Errorf("%+v, %v", out, err)
	}
	plain := expect(t, k.bare, 0, "PostgreSQL database dump complete", "download", "one", "--plain", "--to", "-", "-i", k.identity).stdout
	if int64(len(plain)) != k.exports["one"].SizeBytes {
		t.Errorf("%d plain bytes, want %d", len(plain), k.exports["one"].SizeBytes)
	}
	if raw := expect(t, k.bare, 0, "", "download", "one", "--to", "-").stdout; raw != string(stored) {
		t.Errorf("%d bytes on standard output, want %d", len(raw), len(stored))
	}
}

func TestIDsAndRemoval(t *testing.T) {
	t.Parallel()
	k := keep(t, events.Requested{ProjectID: "acme", RequestID: "same", StoragePath: "nightly"}, events.Requested{ProjectID: "quoted", RequestID: "same"})
	dir := k.copyStorage(t)
	k.platform.copied = true
	bare := []string{"STORAGE=file://" + dir}
	withLedger := append([]string{"DATABASE_URL=" + cluster.URL(k.database)}, bare...)
	expect(t, bare, 2, "choose one: acme/same, quoted/same", "verify", "same", "-i", k.identity)
	expect(t, bare, 0, "acme/same", "verify", "acme/same", "-i", k.identity)
	expect(t, bare, 0, "acme/same", "verify", "acme/nightly/same.1.sql.gz.age", "-i", k.identity)
	expect(t, bare, 3, "no export", "verify", "../same", "-i", k.identity)
	expect(t, bare, 2, "confirm with --yes", "rm", "acme/same")
	expect(t, withLedger, 0, "deleted at file", "rm", "acme/same", "--yes")
	expect(t, withLedger, 0, "removed", "show", "same", "--project", "acme")
	expect(t, withLedger, 0, "absent at file", "rm", "acme/same", "--yes") // the ledger still has it
	expect(t, bare, 3, "no export", "rm", "acme/same", "--yes")
	expect(t, bare, 0, "quoted/same", "verify", "same", "-i", k.identity)
	if left, err := filepath.Glob(filepath.Join(dir, "acme", "nightly", "*")); err != nil || len(left) > 0 {
		t.Errorf("left: %q, %v", left, err)
	}
	// Without a manifest and without the ledger, a damaged export can still be removed.
	flip(t, filepath.Join(dir, "quoted", "same.1.sql.gz.age.manifest.json"), 30)
	expect(t, bare, 0, "deleted at file", "rm", "same", "--yes")
}

func TestEveryKindOfStorageIsReadBackAlone(t *testing.T) {
	t.Parallel()
	server := startS3(t)
	p, c := setup(t), newChat(t)
	p.copied = true // those in S3 and in the chat
	identity, recipient := identityFile(t)
	bucket := func(name string) string {
		return fmt.Sprintf("s3://%s/all?endpoint=%s&region=us-east-1&path_style=true", name, url.QueryEscape(server.URL()))
	}
	telegram := fmt.Sprintf("telegram://%d?api=%s&part_size=200KiB", privateChat, url.QueryEscape(c.URL()))
	w := p.startBinary(withKeys(t),
		"STORAGE=file://"+p.storage+","+bucket("exports")+"&required=true,"+telegram+"&required=true", "TELEGRAM_TOKEN="+c.token, "AGE_RECIPIENTS="+recipient)
	p.request(events.Requested{ProjectID: "acme", RequestID: "one", Format: events.FormatTar})
	done := p.completed("acme", "one")
	p.settled()
	w.term()
	w.await()
	stored, err := os.ReadFile(filepath.Join(p.storage, strings.TrimPrefix(done.Storage[0].URI, "file:")))
	if err != nil {
		t.Fatal(err)
	}
	want, err := contents.Read(t.Context(), p.sql(), []string{"tenant_acme"})
	if err != nil {
		t.Fatal(err)
	}
	for name, place := range map[string]string{"s3": bucket("exports"), "telegram": telegram} {
		if err := executeIn(t.Context(), p.database, "DROP SCHEMA pgcourier CASCADE"); err != nil {
			t.Fatal(err)
		}
		bare := []string{"STORAGE=" + place, "TELEGRAM_TOKEN=" + c.token, "AGE_IDENTITY_FILE=" + identity, "DATABASE_URL=" + cluster.URL(p.database)}
		expect(t, bare, 0, "1 requests recovered", "recover")
		expect(t, bare, 0, "verified", "verify", "one")
		file := filepath.Join(t.TempDir(), "one")
		if err := os.WriteFile(file+".part", stored[:len(stored)/3], 0o600); err != nil {
			t.Fatal(err)
		}
		expect(t, bare, 0, done.SHA256, "download", "one", "--to", file)
		if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, stored) {
			t.Errorf("%s: %d bytes, want %d, %v", name, len(got), len(stored), err)
		}
		at, target := emptyDatabase(t, p.database+"_"+name)
		expect(t, bare, 0, "counted there", "restore", "one", "--to-file", target)
		got, err := contents.Read(t.Context(), connectTo(t, at), []string{"tenant_acme"})
		if err != nil {
			t.Fatal(err)
		}
		if diffs := contents.Compare(want, got); len(diffs) > 0 {
			t.Errorf("%s: %v", name, diffs)
		}
		r := expect(t, bare, 0, "deleted at "+name, "rm", "one", "--yes")
		if strings.Contains(r.stdout+r.stderr, c.token) {
			t.Errorf("%s: the token is in %s%s", name, r.stdout, r.stderr)
		}
		expect(t, bare, 3, "no export", "verify", "one")
	}
	// The temporary server of verify --restore needs nothing but the binaries.
	all := []string{"STORAGE=file://" + p.storage, "AGE_IDENTITY_FILE=" + identity}
	var out []struct {
		OK       bool
		Rows     int64
		Restored *struct {
			ServerVersion string `json:"server_version"`
		}
	}
	r := expect(t, all, 0, "", "verify", "one", "--restore", "--output", "json")
	if err := json.Unmarshal([]byte(r.stdout), &out); err != nil || len(out) != 1 || !out[0].OK || out[0].Restored == nil || out[0].Rows != done.Rows {
		t.Errorf("%s, %v", r.stdout, err)
	}
	expect(t, []string{"STORAGE=" + bucket("nowhere")}, 2, "bucket", "verify", "one")
	server.Close()
	expect(t, []string{"STORAGE=" + bucket("exports")}, 5, "s3", "verify", "one")
}
