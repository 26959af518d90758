package e2e_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/events"
)

func TestAFullQueueIsRefusedAtThePublisherAlone(t *testing.T) {
	t.Parallel()
	p := setup(t)
	g := newGate(t, "tenant_acme")
	p.start("CONCURRENCY=3", "MAX_WAITING_PER_PROJECT=2", "PG_BIN_DIR="+g.dir)
	ask := func(project, id string) error {
		_, err := p.client.RequestBackup(t.Context(), events.Requested{ProjectID: project, RequestID: id})
		return err
	}
	for _, id := range []string{"one", "two"} {
		if err := ask("acme", id); err != nil {
			t.Fatal(err)
		}
	}
	g.awaitHeld(1) // one of a project runs at a time
	if err := ask("acme", "three"); !errors.Is(err, events.ErrQueueFull) {
		t.Errorf("the third request: %v, want ErrQueueFull", err)
	}
	if _, out, code := p.cliWith([]string{"NATS_KEYS=" + p.keys}, "request", "acme", "--id", "four"); code != 1 || !strings.Contains(out, "MAX_WAITING_PER_PROJECT") {
		t.Errorf("the command says of a full queue: exit code %d, %s", code, out)
	}
	// A flood through the intake waits there, and does not delay other projects.
	const flood = 5
	p.outcomes += 2
	for range flood {
		p.publish(events.TypeRequested, nil, `{"project_id":"acme"}`)
	}
	for i := range 2 * flood {
		p.publish(events.TypeRequested, nil, `{"project_id":"globex"}`)
		if _, out := p.announced(uint64(i + 1)); out.Completed == nil || out.Completed.ProjectID != "globex" {
			t.Fatalf("beside a full queue another project's request ended as %+v", out)
		}
	}
	// globex's last request is acknowledged there after it was moved.
	eventually(t, fmt.Sprintf("%d requests wait in the intake", flood), func() bool { return p.stream(events.StreamIntake).State.Msgs == flood })
	g.pass(2 + flood + 1)
	for i := range 2 + flood {
		if _, out := p.announced(uint64(2*flood + i + 1)); out.Completed == nil || out.Completed.ProjectID != "acme" {
			t.Errorf("after the queue was emptied: %+v", out)
		}
	}
	// A refused request was not queued: requested again it is the first with its id.
	p.request(events.Requested{ProjectID: "acme", RequestID: "three"})
	if c := p.completed("acme", "three"); c.Attempt != 1 {
		t.Errorf("completed in attempt %d", c.Attempt)
	}
}
