package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/pgcourier/pgcourier/events"
)

// stored is the size of one export in the broker and in the ledger.
type stored struct {
	Outcome float64 `json:"outcome_bytes"` // in the stream of outcomes
	Events  float64 `json:"event_bytes"`   // in the stream of other events
	Started float64 `json:"events"`        // how many of these
	// LedgerBytes are tables and indexes for each request, without dead rows.
	LedgerBytes float64 `json:"ledger_bytes"`
	Waiting     float64 `json:"waiting_bytes"` // in the queue, while it waits
}

func (w *world) measureStored(ctx context.Context) (s stored, err error) {
	n := float64(len(w.jobs))
	for name, into := range map[string]func(jetstream.StreamState){
		events.StreamOutcomes: func(state jetstream.StreamState) { s.Outcome = float64(state.Bytes) / n },
		events.StreamEvents: func(state jetstream.StreamState) {
			s.Events, s.Started = float64(state.Bytes)/n, float64(state.Msgs)/n
		},
	} {
		stream, err := w.broker.js.Stream(ctx, name)
		if err != nil {
			return s, err
		}
		into(stream.CachedInfo().State)
	}
	return s, nil
}

// ledgerBytes multiplies the ledger's rows, because a few hundred do not fill its pages and
// indexes, and returns the size of one request.
func (w *world) ledgerBytes(ctx context.Context) (bytes float64, err error) {
	const copies = 100
	for _, sql := range []string{
		`INSERT INTO pgcourier.requests SELECT (jsonb_populate_record(r, jsonb_build_object('request_id', r.request_id || '-' || n))).*
			FROM pgcourier.requests r, generate_series(1, $1::int) n`,
		`INSERT INTO pgcourier.attempts SELECT (jsonb_populate_record(a, jsonb_build_object(
				'request_id', a.request_id || '-' || n, 'object', a.object || '-' || n))).*
			FROM pgcourier.attempts a, generate_series(1, $1::int) n`,
	} {
		if _, err := w.lab.ledger.Exec(ctx, sql, copies); err != nil {
			return 0, fmt.Errorf("multiply the ledger: %w", err)
		}
	}
	err = w.lab.ledger.QueryRow(ctx, `SELECT (pg_total_relation_size('pgcourier.requests') + pg_total_relation_size('pgcourier.attempts'))::float8
		/ (SELECT count(*) FROM pgcourier.requests)`).Scan(&bytes)
	return bytes, err
}

// alone is a rate of the broker without any worker.
type alone struct {
	What    string  `json:"what"`
	Clients int     `json:"clients"`
	Count   int     `json:"count"`
	Seconds float64 `json:"seconds"`
	Broker  float64 `json:"broker_core_seconds"`
}

func (a alone) rate() float64 { return float64(a.Count) / a.Seconds }

// cycles is the number of requests of a measurement, for each number of clients.
const cycles = 500

// brokerAlone publishes requests and settles them as a worker does, without an export: a pull, a
// start event, an outcome that must be the first, and a confirmed acknowledgement.
func (w *world) brokerAlone(ctx context.Context, s *stored) ([]alone, error) {
	nc, err := w.broker.login("worker")
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	consumer, err := js.Consumer(ctx, events.StreamRequests, events.ConsumerExport)
	if err != nil {
		return nil, err
	}
	var all []alone
	for _, clients := range []int{1, 8, 32} {
		published, err := w.abreast(ctx, "publish a request", clients, func(ctx context.Context, i int) error {
			_, err := w.client.RequestBackup(ctx, events.Requested{
				ProjectID: fmt.Sprintf("cycle-%d-%d", clients, i), RequestID: "one", Format: events.FormatSQL, Compression: events.CompressionGzip,
			})
			return err
		})
		if err != nil {
			return nil, err
		}
		queue, err := w.broker.js.Stream(ctx, events.StreamRequests)
		if err != nil {
			return nil, err
		}
		s.Waiting = float64(queue.CachedInfo().State.Bytes) / float64(queue.CachedInfo().State.Msgs)
		settled, err := w.abreast(ctx, "pull, start, outcome, ack", clients, func(ctx context.Context, _ int) error {
			return settleOne(ctx, js, consumer)
		})
		if err != nil {
			return nil, err
		}
		all = append(all, published, settled)
	}
	return all, nil
}

// abreast calls do cycles times with so many clients, and measures the time.
func (w *world) abreast(ctx context.Context, what string, clients int, do func(ctx context.Context, i int) error) (a alone, err error) {
	a = alone{What: what, Clients: clients, Count: cycles}
	before, err := w.consumption(ctx)
	if err != nil {
		return a, err
	}
	begun := time.Now()
	var next atomic.Int64
	group, gctx := errgroup.WithContext(ctx)
	for range clients {
		group.Go(func() error {
			for i := next.Add(1); i <= cycles; i = next.Add(1) {
				if err := do(gctx, int(i)); err != nil {
					return fmt.Errorf("%s: %w", what, err)
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return a, err
	}
	a.Seconds = time.Since(begun).Seconds()
	after, err := w.consumption(ctx)
	a.Broker = after.minus(before).Broker
	return a, err
}

func settleOne(ctx context.Context, js jetstream.JetStream, consumer jetstream.Consumer) error {
	m, err := consumer.Next(jetstream.FetchMaxWait(time.Minute))
	if err != nil {
		return err
	}
	project := strings.TrimPrefix(m.Subject(), events.TypeRequested+".")
	body := make([]byte, 900) // as long as an outcome
	for i := range body {
		body[i] = ' '
	}
	if _, err := js.Publish(ctx, events.EventSubject(events.TypeStarted, project, "one"), body[:300]); err != nil {
		return err
	}
	outcome := &nats.Msg{Subject: events.EventSubject(events.TypeCompleted, project, "one"), Data: body}
	if _, err := js.PublishMsg(ctx, outcome, jetstream.WithExpectLastSequenceForSubject(0, "backup.*."+project+".one")); err != nil {
		return err
	}
	return m.DoubleAck(ctx)
}

// print prints the figures that do not belong to one run.
func (rep scaleReport) print(w io.Writer) {
	fmt.Fprintf(w, "\nstored for each request: waiting %.0f bytes, outcome %.0f, %.1f other events %.0f, ledger %.0f\n",
		rep.Stored.Waiting, rep.Stored.Outcome, rep.Stored.Started, rep.Stored.Events, rep.Stored.LedgerBytes)
	fmt.Fprintf(w, "\nmessages of %d exports in the streams' account\n", rep.Counted)
	for _, kind := range slices.Sorted(maps.Keys(rep.Kinds)) {
		c := rep.Kinds[kind]
		fmt.Fprintf(w, "  %-38s %6d  %6.2f each  %6.0f bytes\n", kind, c.Messages,
			float64(c.Messages)/float64(rep.Counted), float64(c.Bytes)/float64(c.Messages))
	}
	fmt.Fprintln(w, "\nthe broker by itself")
	for _, a := range rep.Alone {
		fmt.Fprintf(w, "  %-28s %2d clients  %7.0f a second  %.4f core-seconds each\n", a.What, a.Clients, a.rate(), a.Broker/float64(a.Count))
	}
	fmt.Fprintln(w)
}
