package e2e_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/doctor"
)

// doctor compares the ledger and the storage. A missing object stops neither the comparison nor
// anything else.
func TestDoctorFindsDrift(t *testing.T) {
	t.Parallel()
	p := setup(t)
	w := p.start()
	for _, id := range []string{"kept", "lost"} {
		p.completed("acme", p.request(events.Requested{ProjectID: "acme", RequestID: id}))
	}
	if d := p.diagnose(0, nil, "--drift", "--only", "drift"); len(d) != 1 || d["drift/file"].State != doctor.OK {
		t.Errorf("without drift: %+v", d)
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
	d := p.diagnose(1, nil, "--drift", "--only", "drift")["drift/file"]
	if d.State != doctor.Fault || d.Drift == nil || len(d.Missing) != 1 || !strings.HasPrefix(d.Missing[0], "acme/lost.") ||
		len(d.Strays) != 1 || !strings.HasPrefix(d.Strays[0], "acme/stray.") || !strings.Contains(d.Found, "1 missing although the ledger has them: acme/lost.") {
		t.Errorf("found %+v", d)
	}
	for file, at := range hidden { // the platform's end expects it
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
