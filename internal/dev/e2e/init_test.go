package e2e_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/internal/seal"
)

// A new user needs no variable but the home folder: init writes the settings, serve and the other
// commands read them.
func TestInitWritesWhatAllCommandsRead(t *testing.T) {
	t.Parallel()
	p := setup(t)
	home := t.TempDir()
	environ := []string{"HOME=" + home}
	file, key := filepath.Join(home, ".config", "pgcourier", "config"), filepath.Join(home, "key.txt")

	if stdout, stderr, code := p.command(environ, "init"); code != 2 || !strings.Contains(stderr, "name the database with PGCOURIER_DATABASE_URL") {
		t.Errorf("without a database: %d, %s%s", code, stdout, stderr)
	}
	given := append([]string{"PGCOURIER_" + p.environOf("DATABASE_URL")}, environ...)
	stdout, stderr, code := p.command(given, "init", "--each-schema", "--new-key", key)
	if code != 0 || !strings.Contains(stderr, "wrote "+file) || !strings.Contains(stderr, "pgcourier serve") {
		t.Fatalf("init: %d\n%s%s", code, stdout, stderr)
	}
	p.checkSecrets("init", stdout+stderr)
	for _, name := range []string{file, key} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	b, err := os.ReadFile(key)
	if err == nil {
		_, err = seal.ParseIdentities(b)
	}
	if err != nil {
		t.Error(err)
	}
	if stdout, stderr, code := p.command(given, "init"); code != 2 || !strings.Contains(stderr, "replace it with --force") {
		t.Errorf("a second time: %d, %s%s", code, stdout, stderr)
	}

	if err := os.Mkdir(filepath.Join(home, ".config", "pgcourier", "keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(home, "other")
	if _, stderr, _ := p.command(append(given, "PGCOURIER_NATS_URL=nats://127.0.0.1:1"), "init", "--config", other, "--only", "clients"); !strings.Contains(stderr, "wrote "+other) {
		t.Errorf("init for a broker of one's own: %s", stderr)
	}
	if b, err := os.ReadFile(other); err != nil || strings.Contains(string(b), "NATS_KEYS") || !strings.Contains(string(b), "PGCOURIER_NATS_URL=nats://127.0.0.1:1\n") {
		t.Errorf("the folder keys is beside another file, and this file has %q, %v", b, err)
	}
	beside := filepath.Join(home, ".config", "pgcourier", "other")
	if _, stderr, _ := p.command(append(given, "PGCOURIER_NATS_URL=nats://127.0.0.1:1"), "init", "--config", beside, "--only", "clients"); !strings.Contains(stderr, "wrote "+beside) {
		t.Errorf("init for a broker of one's own: %s", stderr)
	}
	if b, err := os.ReadFile(beside); err != nil || !strings.Contains(string(b), "PGCOURIER_NATS_KEYS="+filepath.Join(filepath.Dir(beside), "keys")+"\n") {
		t.Errorf("the file has %q, %v", b, err)
	}

	w := p.launch("", append([]string{"PGCOURIER_NATS_PORT=-1", "PGCOURIER_LOG_FORMAT=json"}, environ...))
	if stdout, stderr, code := p.command(environ, "request", "tenant_acme", "--id", "first", "--wait"); code != 0 || !strings.Contains(stdout, "completed") {
		t.Errorf("request: %d\n%s%s", code, stdout, stderr)
	}
	if stdout, stderr, code := p.command(environ, "verify", "first", "-i", key); code != 0 {
		t.Errorf("verify: %d\n%s%s", code, stdout, stderr)
	}
	stored, err := filepath.Glob(filepath.Join(home, ".local/share/pgcourier/exports/tenant_acme/*.age"))
	if err != nil || len(stored) != 1 {
		t.Errorf("stored: %q, %v", stored, err)
	}
	w.term()
	if w.await(); w.err != nil {
		t.Errorf("the worker ended with %v:\n%s", w.err, w.logs.String())
	}
	p.workers = nil // the platform's own broker was not used
}
