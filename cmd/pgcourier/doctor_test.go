package main_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/events"
)

func TestDoctorNamesTheDestinationThatIsIll(t *testing.T) {
	t.Parallel()
	p, c := setup(t), newChat(t)
	stdout, stderr, code := p.cliWith(c.storage(p, ""), "doctor")
	if code != 0 || stdout != "storage file: ok\nstorage telegram: ok\n" {
		t.Errorf("healthy: exit %d, %q, %s", code, stdout, stderr)
	}
	c.Revoke(c.token)
	stdout, stderr, code = p.cliWith(c.storage(p, ""), "doctor", "--output", "json")
	if code != 2 || !strings.Contains(stderr, "storage telegram: ") || strings.Contains(stdout+stderr, c.token) {
		t.Errorf("a revoked token: exit %d, %s", code, stderr)
	}
	var found []struct {
		Check        string
		OK, Required bool
		Error        string
	}
	if err := json.Unmarshal([]byte(stdout), &found); err != nil {
		t.Fatal(err)
	}
	if len(found) != 2 || !found[0].OK || !found[0].Required || found[1].OK || found[1].Required || found[1].Error == "" {
		t.Errorf("found %+v", found)
	}
	_, stderr, code = p.cliWith([]string{"STORAGE=s3://bucket?endpoint=http://127.0.0.1:1&region=x"}, "doctor")
	if code != 5 || !strings.Contains(stderr, "storage s3: ") {
		t.Errorf("an unreachable server: exit %d, %s", code, stderr)
	}
}

// What the ledger and the storage say of each other is compared; what is missing stops
// neither the comparison nor anything else.
func TestDoctorFindsDrift(t *testing.T) {
	t.Parallel()
	p := setup(t)
	w := p.start()
	for _, id := range []string{"kept", "lost"} {
		p.completed("acme", p.request(events.Requested{ProjectID: "acme", RequestID: id}))
	}
	if stdout, stderr, code := p.cli("doctor", "--drift"); code != 0 || stdout != "storage file: ok\ndrift file: none\n" {
		t.Errorf("without drift: exit %d, %q, %s", code, stdout, stderr)
	}
	w.term()
	w.await()
	p.settled()
	hidden := map[string]string{}
	for _, name := range p.stored() {
		file := filepath.Join(p.storage, name)
		if strings.HasPrefix(name, "acme/lost.") {
			hidden[file] = filepath.Join(t.TempDir(), "hidden")
			if err := os.Rename(file, hidden[file]); err != nil {
				t.Fatal(err)
			}
		} else if err := os.Link(file, filepath.Join(p.storage, strings.Replace(name, "acme/kept.", "acme/stray.", 1))); err != nil {
			t.Fatal(err)
		}
	}
	stdout, stderr, code := p.cli("doctor", "--drift", "--output", "json")
	var found []struct {
		Check           string
		OK              bool
		Missing, Strays []string
	}
	if err := json.Unmarshal([]byte(stdout), &found); err != nil || code != 4 || len(found) != 2 {
		t.Fatalf("exit %d, %s%s", code, stdout, stderr)
	}
	if d := found[1]; d.OK || d.Check != "drift file" || len(d.Missing) != 1 || !strings.HasPrefix(d.Missing[0], "acme/lost.") ||
		len(d.Strays) != 1 || !strings.HasPrefix(d.Strays[0], "acme/stray.") || !strings.Contains(stderr, "1 missing although the ledger has them: acme/lost.") {
		t.Errorf("found %+v; %s", d, stderr)
	}
	for file, at := range hidden { // as the platform's end wants it
		if err := os.Rename(at, file); err != nil {
			t.Error(err)
		}
	}
	for _, name := range p.stored() {
		if strings.HasPrefix(name, "acme/stray.") {
			if err := os.Remove(filepath.Join(p.storage, name)); err != nil {
				t.Error(err)
			}
		}
	}
}
