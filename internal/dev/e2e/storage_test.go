package e2e_test

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/storage"
)

// Every command names a file system that is not mounted, and nothing is made, marked as lost or
// deleted in its place. After the right one is mounted everything continues.
func TestAStorageThatIsNotMounted(t *testing.T) {
	t.Parallel()
	p := setup(t)
	p.start("RETRY_BACKOFF=10ms")
	p.completed("acme", p.request(events.Requested{ProjectID: "acme", RequestID: "r1"}))
	away := p.storage + ".away"
	must := func(errs ...error) {
		t.Helper()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	must(os.Rename(p.storage, away), os.Mkdir(p.storage, 0o700))
	if f := p.failed("acme", p.request(events.Requested{ProjectID: "acme", RequestID: "r2"}), codes.StorageUnavailable, 3); !strings.Contains(f.Message, "not mounted") || strings.Contains(f.Message, p.storage) {
		t.Errorf("the outcome says %q", f.Message)
	}
	for _, args := range [][]string{{"storage"}, {"download", "r1"}, {"verify", "r1"}, {"rm", "r1", "--yes"}} {
		if stdout, stderr, code := p.cli(args...); code != 5 || !strings.Contains(stderr, "the storage is not there") {
			t.Errorf("%q ended with %d: %s%s", args, code, stdout, stderr)
		}
	}
	serve, err := exec.LookPath("pgcourier")
	must(err)
	cmd := exec.CommandContext(t.Context(), serve, "serve")
	cmd.Env = p.environ()
	out, err := cmd.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 5 || !strings.Contains(string(out), "pgcourier storage adopt file") {
		t.Errorf("a worker that starts: %v\n%s", err, out)
	}
	if left, err := os.ReadDir(p.storage); err != nil || len(left) != 0 {
		t.Errorf("files in its place: %v, %v", left, err)
	}
	must(os.Remove(p.storage), os.Rename(away, p.storage))
	p.completed("acme", p.request(events.Requested{ProjectID: "acme", RequestID: "r3"}))
	if _, stderr, code := p.cli("verify", "r1"); code != 0 {
		t.Errorf("verify ended with %d: %s", code, stderr)
	}
	// The folder is moved without its marker into a folder that another worker has marked.
	must(os.WriteFile(p.storage+"/"+storage.MarkerName, []byte(`{"version":1,"storage":"anotherstorageanother","marked_at":"2026-11-29T14:00:00Z"}`), 0o600))
	if _, stderr, code := p.cli("storage"); code != 2 || !strings.Contains(stderr, "folders of their own") {
		t.Errorf("storage ended with %d: %s", code, stderr)
	}
	if stdout, stderr, code := p.cli("storage", "adopt", "file"); code != 0 {
		t.Errorf("adopt ended with %d: %s%s", code, stdout, stderr)
	}
	var places []struct{ Destination, Storage, Recorded string }
	stdout, _, code := p.cli("storage", "--output", "json")
	if err := json.Unmarshal([]byte(stdout), &places); err != nil || code != 0 || len(places) != 1 || places[0].Storage != "anotherstorageanother" || places[0].Recorded != places[0].Storage {
		t.Errorf("after it storage ended with %d: %s (%v)", code, stdout, err)
	}
}
