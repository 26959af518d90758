package e2e_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"filippo.io/age"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
)

var oldBinary = flag.String("old", "", "the program of an earlier build, without recipients, deliver and links, to run beside this one; make compat builds it")

// old runs a command of the earlier build, which must succeed.
func (p *platform) old(args ...string) (stdout string) {
	p.t.Helper()
	stdout, stderr, code := p.commandOf(*oldBinary, p.environ("LOG_LEVEL=error"), args...)
	if code != 0 {
		p.t.Fatalf("%v of the earlier build: exit code %d, %s%s", args, code, stdout, stderr)
	}
	return stdout
}

// oldWatcher is a consumer of events of the earlier build.
func (p *platform) oldWatcher() *logs {
	p.t.Helper()
	out := &logs{}
	cmd := exec.Command(*oldBinary, "watch", "--output", "json")
	cmd.Env, cmd.Stdout, cmd.Stderr = append([]string{"PATH=/usr/bin:/bin"}, p.environ("LOG_LEVEL=error")...), out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGINT)
		if err := cmd.Wait(); err != nil {
			p.t.Errorf("the earlier watch: %v\n%s", err, out.String())
		}
	})
	return out
}

// outcomeOf reads the outcome of a request, the last of the events that a command printed as JSON.
func outcomeOf(t *testing.T, stdout string) (e struct {
	Type  string
	Event map[string]any
}) {
	t.Helper()
	for d := json.NewDecoder(strings.NewReader(stdout)); d.More(); {
		if err := d.Decode(&e); err != nil {
			t.Fatalf("%v: %s", err, stdout)
		}
	}
	return e
}

// A client and a worker of an earlier build work with those of this one, on one broker and one
// ledger, also while both are killed.
func TestAnEarlierBuildWorksBesideThisOne(t *testing.T) {
	if *oldBinary == "" {
		t.Skip("no earlier build is given: make compat builds one and runs this")
	}
	p := setupPlain(t)
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	var small []string
	for i := range 12 {
		small = append(small, fmt.Sprintf("compat%02d", i))
	}
	p.tenants(small...)

	// The earlier worker runs alone, on a ledger that it made.
	old := p.startBinary(*oldBinary)
	t.Logf("the earlier worker sets %s to %q", events.StreamEvents, p.stream(events.StreamEvents).Config.Subjects)
	if stdout, stderr, code := p.cli("request", "acme", "--id", "new-client", "--wait", "--output", "json"); code != 0 || outcomeOf(t, stdout).Type != events.TypeCompleted {
		t.Errorf("a new client and the earlier worker: %d, %s%s", code, stdout, stderr)
	}
	p.outcomes++
	fields := events.Requested{ProjectID: "acme", RequestID: "fields", Recipients: []string{identity.Recipient().String()}, Deliver: &events.Deliver{TTL: "1h"}}
	p.request(fields)
	if f := p.failed("acme", "fields", codes.InvalidRequest, 1); !f.Permanent || !strings.Contains(f.Message, "recipients") && !strings.Contains(f.Message, "deliver") {
		t.Errorf("new fields for the earlier worker: %+v", f)
	}
	p.old("request", "acme", "--id", "old-client", "--wait")
	p.outcomes++

	// The new worker migrates the ledger, and both work.
	watcher := p.oldWatcher()
	current := p.start()
	ask := func(round string) {
		t.Helper()
		for i, project := range small {
			if i%2 == 0 {
				p.request(events.Requested{ProjectID: project, RequestID: round})
			} else {
				p.old("request", project, "--id", round)
				p.outcomes++
			}
		}
	}
	done := func(round string) {
		t.Helper()
		for _, project := range small {
			p.completed(project, round)
		}
	}
	ask("both")
	done("both")
	ask("new-killed")
	current.kill()
	done("new-killed") // by the earlier worker, on the migrated ledger
	current = p.start()
	ask("old-killed")
	old.kill()
	done("old-killed")

	// The earlier worker that starts again sets the streams back and refuses the ledger.
	api := p.startAPI("PUBLIC_URL=http://backups.example.org")
	_, stderr, code := p.commandOf(*oldBinary, p.environ(), "serve")
	if code != 1 || !strings.Contains(stderr, "newer than this release knows") {
		t.Errorf("the earlier worker on a newer ledger: exit code %d, %s", code, stderr)
	}
	stdout, stderr, code := p.cliWith([]string{"PUBLIC_URL=http://backups.example.org"}, "link", "create", "acme/old-client", "--output", "json")
	var link struct {
		ID string `json:"link_id"`
	}
	if err := json.Unmarshal([]byte(stdout), &link); err != nil || code != 0 {
		t.Fatalf("link create: %d, %s%s", code, stdout, stderr)
	}
	if issued := p.event(events.TypeLinkIssued, "acme", "old-client").LinkIssued; issued.LinkID != link.ID {
		t.Errorf("issued %+v", issued)
	}

	// The earlier client reads outcomes with new fields, and skips events of links.
	fields.RequestID = "fields-again"
	p.request(fields)
	p.completed("acme", "fields-again")
	p.event(events.TypeLinkIssued, "acme", "fields-again")
	if e := outcomeOf(t, p.old("watch", "fields-again", "--project", "acme", "--output", "json")); e.Type != events.TypeCompleted || e.Event["encryption"] != "age" {
		t.Errorf("the earlier client reads %+v", e)
	}
	p.old("request", "acme", "--id", "last", "--wait")
	p.outcomes++
	eventually(t, "the earlier watcher has seen the last outcome", func() bool { return strings.Contains(watcher.String(), `"last"`) })

	// The earlier build fetches an export of this build.
	file := filepath.Join(t.TempDir(), "last.sql.gz")
	p.old("download", "acme/last", "--to", file)
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
	for _, w := range []*worker{current, api.worker} {
		if w.ended() {
			t.Errorf("a new process ended: %s", w.logs.String())
		}
	}
}
