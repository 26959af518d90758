package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/term"
)

// requests asks for three exports as gateways do and returns those that completed.
func (d *story) requests(ctx context.Context) ([]*events.Completed, error) {
	d.say("A Go gateway asks for acme through events.Client")
	acme, err := d.ask(ctx, events.Requested{
		ProjectID: "acme", RequestedBy: "demo", Metadata: map[string]string{"ticket": "4711"},
	})
	if err != nil {
		return nil, err
	}
	if acme.Completed == nil {
		return nil, fmt.Errorf("the export of acme failed: %s: %s", acme.Failed.Code, acme.Failed.Message)
	}
	d.say(`Any gateway asks for bolt: nats --nkey gateway.nk pub backup.requested '{"project_id":"bolt"}'`)
	bolt, err := d.askBare(ctx, "bolt")
	if err != nil {
		return nil, err
	}
	if bolt.Completed == nil {
		return nil, fmt.Errorf("the export of bolt failed: %s: %s", bolt.Failed.Code, bolt.Failed.Message)
	}
	d.say("A request for ceres, which is suspended, is refused without a retry")
	ceres, err := d.ask(ctx, events.Requested{ProjectID: "ceres"})
	if err != nil {
		return nil, err
	}
	if ceres.Failed == nil || ceres.Failed.Code != "project_not_found" || ceres.Failed.Attempts != 1 {
		return nil, errors.New("the suspended project was not refused as it must be")
	}
	return []*events.Completed{acme.Completed, bolt.Completed}, nil
}

// ask requests an export, shows its progress and prints its outcome event.
func (d *story) ask(ctx context.Context, r events.Requested) (events.Outcome, error) {
	id, err := d.client.RequestBackup(ctx, r)
	if err != nil {
		return events.Outcome{}, err
	}
	view := term.NewEvents(d.Stdout, d.Environ, false)
	defer view.Close()
	out, err := view.Follow(ctx, d.client, r.ProjectID, id)
	if err != nil {
		return events.Outcome{}, err
	}
	return out, d.printEvent(out)
}

// askBare publishes a bare JSON body with no headers at all, and waits for the outcome of
// the project's next request.
func (d *story) askBare(ctx context.Context, project string) (events.Outcome, error) {
	nc := d.gateway
	outcomes, err := nc.SubscribeSync(events.OutcomeFilter(project, "*"))
	if err != nil {
		return events.Outcome{}, err
	}
	defer func() { _ = outcomes.Unsubscribe() }()
	if err := nc.Publish(events.TypeRequested, []byte(`{"project_id":"`+project+`"}`)); err != nil {
		return events.Outcome{}, err
	}
	for {
		m, err := outcomes.NextMsgWithContext(ctx)
		if err != nil {
			return events.Outcome{}, fmt.Errorf("wait for the outcome: %w", err)
		}
		if out, ok := outcomeOf(m); ok {
			return out, d.printEvent(out)
		}
	}
}

func outcomeOf(m *nats.Msg) (events.Outcome, bool) {
	header := map[string]string{}
	for k := range m.Header {
		header[k] = m.Header.Get(k)
	}
	out, err := events.DecodeOutcome(events.Message{Subject: m.Subject, Header: header, Body: m.Data})
	return out, err == nil
}

func (d *story) printEvent(out events.Outcome) error {
	b, err := json.MarshalIndent(term.EventJSON(events.Event{Outcome: out}), "   ", "  ")
	if err != nil {
		return err
	}
	d.tell("%s", b)
	return nil
}
