package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/broker/server"
)

// The ways in which Node's client makes consumers with the operator's key. docs/broker.md describes
// them; TestTheOperatorsConsumers has those of Go's client.
func TestNodesConsumers(t *testing.T) {
	t.Parallel()
	p := setup(t)
	p.start()
	p.completed("globex", p.request(events.Requested{ProjectID: "globex"}))
	p.failed("nobody", p.request(events.Requested{ProjectID: "nobody"}), codes.ProjectNotFound, 1)
	folder := installExample(t, filepath.Join(root, "docs", "examples", "consumer-node"))
	script, err := os.ReadFile(filepath.Join("testdata", "consumers.mjs"))
	if err == nil {
		err = os.WriteFile(filepath.Join(folder, "consumers.mjs"), script, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "consumers.mjs")
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), "NATS_URL="+p.broker.ClientURL(), "NATS_NKEY="+server.KeyFile(p.keys, server.UserOperator))
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s%s", err, out, errs.String())
	}
	type result struct {
		Way     string
		Got     int
		Refused string
		Error   string
	}
	const unnamed = "$JS.API.CONSUMER.CREATE.BACKUP_OUTCOMES"
	want := []result{
		{Way: "durable", Got: 2},
		{Way: "durable, one filter", Got: 2},
		{Way: "durable, several filters", Got: 2},
		{Way: "ephemeral with a name", Got: 2},
		{Way: "ordered", Got: 2},
		{Way: "ordered, one filter", Got: 2},
		{Way: "ephemeral without a name", Refused: unnamed},
		{Way: "ordered, a list of filters", Refused: unnamed},
		{Way: "push without a name", Refused: unnamed},
		{Way: "push, durable"}, // made, but not bound: the broker cannot deliver into another account
	}
	lines := json.NewDecoder(bytes.NewReader(out))
	for _, w := range want {
		var got result
		if err := lines.Decode(&got); err != nil || got != w {
			t.Errorf("got %+v, want %+v (%v)", got, w, err)
		}
	}
}
