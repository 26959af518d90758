package service

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/handlers"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/ledger"
)

const (
	// ordersEvery is the pause between two looks for orders to verify.
	ordersEvery = 5 * time.Second
	// orderHold is how long an order is held without a renewal.
	orderHold = time.Minute
	// orderTries is how often an order is tried, as often as a verifier's message is delivered.
	orderTries = 5
	// orderClosing bounds the record of a result after the end of the context.
	orderClosing = 10 * time.Second
)

// carryOutOrders verifies the exports that the ledger has orders for, until ctx ends. A verifier
// without a ledger sees none.
func (v *Verifier) carryOutOrders(ctx context.Context, h *handlers.Completed) {
	l := v.config.Ledger
	if l == nil || v.config.Ready(ctx) != nil { // ctx has ended
		return
	}
	tick := time.NewTicker(ordersEvery)
	defer tick.Stop()
	var remind export.Reminder
	for {
		order, err := l.TakeVerification(ctx, orderHold, orderTries)
		switch {
		case err == nil:
			remind.End()
		case ctx.Err() == nil:
			if lasted, due := remind.Due(); due {
				v.config.Log.WarnContext(ctx, "orders to verify cannot be read", "for", lasted.Round(time.Second), "error", err)
			}
		}
		if order != nil {
			v.carryOut(ctx, h, *order)
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// carryOut verifies the export of an order, and records that. The order is held meanwhile: when it is
// lost, the verification ends.
func (v *Verifier) carryOut(ctx context.Context, h *handlers.Completed, o ledger.VerificationOrder) {
	l, log := v.config.Ledger, v.config.Log.With("project_id", o.Project, "request_id", o.Request, "try", o.Try)
	log.InfoContext(ctx, "verification was ordered", "ordered_at", o.OrderedAt)
	held, release := context.WithCancel(ctx)
	var holding sync.WaitGroup
	holding.Go(func() {
		defer release()
		tick := time.NewTicker(orderHold / 3)
		defer tick.Stop()
		for {
			select {
			case <-held.Done():
				return
			case <-tick.C:
			}
			if errors.Is(l.HoldVerification(held, o, orderHold), ledger.ErrOrderLost) {
				return
			}
		}
	})
	err := v.again(held, h, o)
	release()
	holding.Wait()
	closing, end := context.WithTimeout(context.WithoutCancel(ctx), orderClosing)
	defer end()
	switch {
	case err == nil:
		err = l.VerificationDone(closing, o)
	case ctx.Err() != nil: // the process ends: another verifier takes it at once
		err = l.VerificationNotMade(closing, o, "", 0, false)
	default:
		last := o.Try >= orderTries
		log.WarnContext(ctx, "ordered verification not made", "given_up", last, "error", err)
		err = l.VerificationNotMade(closing, o, "the verification could not be made: the log of the verifier has the cause", v.pause(o.Try), last)
	}
	if err != nil && !errors.Is(err, ledger.ErrOrderLost) {
		log.WarnContext(ctx, "end of an ordered verification not recorded", "error", err)
	}
}

// pause returns the pause after a try of an order.
func (v *Verifier) pause(try int) time.Duration { return v.config.Settings.RetryBackoff << min(try, 6) }

// again verifies an export as its outcome in the ledger describes it.
func (v *Verifier) again(ctx context.Context, h *handlers.Completed, o ledger.VerificationOrder) error {
	entries, err := v.config.Ledger.Get(ctx, o.Request, o.Project)
	if err != nil {
		return err
	}
	if len(entries) == 0 || entries[0].Outcome == nil || entries[0].Outcome.Artifact == nil || entries[0].RemovedAt != nil {
		return nil // it was deleted meanwhile
	}
	out := *entries[0].Outcome
	out.Payload = entries[0].Payload
	m, err := handlers.EncodeOutcome(out, source)
	if err != nil {
		return fmt.Errorf("read the outcome of %s: %w", o.ID, err)
	}
	e, err := events.DecodeOutcome(m)
	if err != nil {
		return fmt.Errorf("read the outcome of %s: %w", o.ID, err)
	}
	return h.Again(ctx, *e.Completed, o.OrderedAt)
}
