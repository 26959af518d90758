package service

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/handlers"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/export"
)

// cancelTimeout bounds one cancel: twice the ledger's limit for a call, and a reserve.
const cancelTimeout = 25 * time.Second

// CancellerConfig is what a Canceller needs.
type CancellerConfig struct {
	// Connection must be to the account of the streams, or of Restores to that of the restorer.
	Connection *nats.Conn
	Ledger     export.Cancelling
	Queue      export.WaitingQueue
	Announcer  export.Announcer
	// Nudge makes the owner of a running request read the ledger, if it is in this process.
	Nudge func(export.ID)
	// Restores: it answers cancels of restores, not of exports.
	Restores bool
	Log      *slog.Logger
}

// Canceller answers cancels, and checks the ledger when another worker has recorded one. Every
// worker answers: a queue group would deliver a cancel to one worker, which may be paused.
type Canceller struct {
	config CancellerConfig
	subs   []*nats.Subscription
}

// NewCanceller subscribes to cancels and answers them until Close, also after the end of ctx.
func NewCanceller(ctx context.Context, c CancellerConfig) (*Canceller, error) {
	ctx = context.WithoutCancel(ctx)
	r := &Canceller{config: c}
	h := &handlers.Cancel{Log: c.Log, Canceller: export.NewCanceller(export.CancellerConfig{
		Ledger: c.Ledger, Announcer: c.Announcer, Queue: c.Queue, Tell: r.tell, Log: c.Log,
	})}
	filter := events.CancelFilter
	answer := func(ctx context.Context, m events.Message) (events.Message, error) { return h.Answer(ctx, m).Encode() }
	if c.Restores {
		filter = events.RestoreCancelFilter
		answer = func(ctx context.Context, m events.Message) (events.Message, error) {
			return h.AnswerRestore(ctx, m).Encode()
		}
	}
	asked, err := c.Connection.Subscribe(filter, func(m *nats.Msg) {
		ctx, cancel := context.WithTimeout(ctx, cancelTimeout)
		defer cancel()
		reply, err := answer(ctx, events.Message{Subject: m.Subject, Body: m.Data})
		if err == nil && broker.IsInbox(m.Reply) {
			err = m.Respond(reply.Body)
		}
		if err != nil {
			c.Log.WarnContext(ctx, "cancel not answered", "error", err)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("listen for cancels: %w", err)
	}
	r.subs = []*nats.Subscription{asked}
	if c.Restores {
		return r, nil
	}
	told, err := c.Connection.Subscribe(events.CancellingFilter, func(m *nats.Msg) {
		if tokens := strings.Split(m.Subject, "."); len(tokens) == 4 {
			c.Nudge(export.ID{Project: tokens[2], Request: tokens[3]})
		}
	})
	if err != nil {
		_ = asked.Unsubscribe()
		return nil, fmt.Errorf("listen for recorded cancels: %w", err)
	}
	r.subs = append(r.subs, told)
	return r, nil
}

// Close ends the subscriptions.
func (r *Canceller) Close() error {
	for _, sub := range r.subs {
		_ = sub.Unsubscribe() // fails only on a closed connection
	}
	return nil
}

// tell publishes to all workers, this one included, that a cancel was recorded. It tells no other
// restorer: there are few, and each has received the cancel itself.
func (r *Canceller) tell(id export.ID) {
	r.config.Nudge(id)
	if r.config.Restores {
		return
	}
	if err := r.config.Connection.Publish(events.EventSubject(events.TypeCancelling, id.Project, id.Request), []byte("{}")); err != nil {
		r.config.Log.Warn("recorded cancel not published to the other workers, the owner finds it at its next renewal", "project_id", id.Project, "request_id", id.Request, "error", err)
	}
}
