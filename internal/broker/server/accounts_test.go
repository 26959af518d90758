package server_test

import (
	"errors"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/broker/server"
	"github.com/pgcourier/pgcourier/internal/dev/brokertest"
)

// A sender names the subject for the answer, and the broker answers there with its own rights: no
// answer may reach a stream.
func TestNoAnswerOfTheBrokerBecomesAnOutcome(t *testing.T) {
	t.Parallel()
	g := external(t)
	// With only one account the attack works: this is what the accounts prevent.
	open := brokertest.Start(t, t.TempDir(), brokertest.RandomPort)
	one := connect(t, open.ClientURL())
	must(t, broker.Provision(t.Context(), stream(t, one), everything))
	trick := func(nc *nats.Conn, subject, reply string) error {
		must(t, nc.PublishMsg(&nats.Msg{Subject: subject, Reply: reply, Data: []byte(`{}`)}))
		return refusal(t, nc)
	}
	stored := func(nc *nats.Conn, name string) uint64 {
		s, err := stream(t, nc).Stream(t.Context(), name)
		must(t, err)
		return s.CachedInfo().State.Msgs
	}
	must(t, trick(one, "backup.requested.acme", "backup.completed.acme.r1"))
	brokertest.Eventually(t, "the broker's answer is an outcome", func() bool { return stored(one, events.StreamOutcomes) == 1 })

	// An API that answers every call: its account may publish requests too.
	answers := g.connect(server.UserAPI)
	for _, subject := range []string{events.CallFilter, "$SRV.>"} {
		_, err := answers.Subscribe(subject, func(m *nats.Msg) { _ = m.Respond([]byte("{}")) })
		must(t, err)
	}
	must(t, answers.Flush())

	_, err := stream(t, g.admin).Publish(t.Context(), broker.NotificationSubject("email", "k1"), []byte(`{"forged":true}`))
	must(t, err)
	requests := uint64(0)
	for u, subjects := range map[server.User][]string{
		server.UserGateway:  {"backup.requested.acme", "$JS.API.INFO", "$JS.API.STREAM.INFO.BACKUP_OUTCOMES", "$JS.API.STREAM.MSG.GET.BACKUP_EVENTS", "backup.api.acme.status", "$SRV.PING"},
		publisher:           {"backup.requested.acme", "backup.api.acme.status"},
		server.UserOperator: {"backup.requested.acme", "$JS.API.STREAM.MSG.GET.BACKUP_REQUESTS", "backup.schedule.acme.nightly"},
		server.UserNotifier: {"backup_notification_state.k1", "$JS.API.CONSUMER.MSG.NEXT.BACKUP_NOTIFICATIONS.notify-email", "$JS.API.STREAM.INFO.BACKUP_OUTCOMES"},
		server.UserVerifier: {"backup.verified.acme.r1", "$JS.API.CONSUMER.MSG.NEXT.BACKUP_OUTCOMES.verifier"},
	} {
		nc := g.connect(u)
		for _, subject := range subjects {
			if subject == "backup.requested.acme" {
				requests += 2
			}
			for _, reply := range []string{"backup.completed.acme.r1", "backup.requested.globex"} {
				must(t, trick(nc, subject, reply))
			}
		}
		// The server has processed everything: it answered a later question.
		if u == publisher {
			continue // may not ask, and is not answered
		}
		if u == server.UserGateway { // calls are answered in order
			if _, err := nc.Request("backup.api.acme.status", nil, brokertest.Timeout); err != nil {
				t.Errorf("%s: %v", u, err)
			}
		}
		if _, err := nc.Request("$JS.API.INFO", nil, brokertest.Timeout); err != nil {
			t.Errorf("%s: %v", u, err)
		}
	}
	brokertest.Eventually(t, "the requests are stored", func() bool { return stored(g.admin, events.StreamRequests) == requests })
	if n := stored(g.admin, events.StreamOutcomes); n != 0 {
		t.Errorf("%d outcomes were forged", n)
	}
	s, err := stream(t, g.admin).Stream(t.Context(), events.StreamRequests)
	must(t, err)
	if m, err := s.GetLastMsgForSubject(t.Context(), "backup.requested.globex"); err == nil {
		t.Errorf("a request was forged: %q", m.Data)
	}
}

// Announced events are visible across the border of the accounts, and others are not, with any
// wildcard.
func TestAnnouncementsAreVisibleAndSchedulesAreNot(t *testing.T) {
	t.Parallel()
	g := external(t)
	gateway, acme := g.connect(server.UserGateway), g.connect(publisher)
	all, err := gateway.SubscribeSync("backup.*.*.*")
	must(t, err)
	own, err := acme.SubscribeSync("backup.*.acme.*")
	must(t, err)
	must(t, errors.Join(gateway.Flush(), acme.Flush()))
	worker := g.connect(server.UserWorker)
	subjects := []string{
		"backup.cancelling.acme.r1", "backup.started.acme.r1", "backup.progress.acme.r1", "backup.completed.acme.r1", "backup.failed.globex.r2",
	}
	must(t, g.admin.Publish("backup.schedule.acme.nightly", []byte("private")))
	must(t, g.admin.Flush())
	for _, s := range subjects {
		must(t, worker.Publish(s, []byte("{}")))
	}
	must(t, worker.Flush())
	must(t, g.admin.Publish("backup.verified.acme.last", nil))
	expect := func(sub *nats.Subscription, want ...string) {
		t.Helper()
		for _, w := range want {
			m, err := sub.NextMsg(brokertest.Timeout)
			must(t, err)
			if m.Subject != w {
				t.Errorf("received %s, want %s", m.Subject, w)
			}
		}
	}
	expect(all, "backup.started.acme.r1", "backup.progress.acme.r1", "backup.completed.acme.r1", "backup.failed.globex.r2", "backup.verified.acme.last")
	expect(own, "backup.started.acme.r1", "backup.progress.acme.r1", "backup.completed.acme.r1", "backup.verified.acme.last")
}

// Even the administrator cannot remove an outcome.
func TestNoUserRemovesAnOutcome(t *testing.T) {
	t.Parallel()
	g := embedded(t)
	js := stream(t, g.admin)
	_, err := js.Publish(t.Context(), "backup.completed.acme.r1", []byte("{}"))
	must(t, err)
	s, err := js.Stream(t.Context(), events.StreamOutcomes)
	must(t, err)
	if err := s.DeleteMsg(t.Context(), 1); err == nil {
		t.Error("deleted")
	}
	if err := s.Purge(t.Context()); err == nil {
		t.Error("purged")
	}
}

// A cancel of a restore crosses the border of two accounts to each restorer, and an answer goes to its
// sender only. Without a restorer the sender is told at once.
func TestACancelOfARestoreReachesEveryRestorer(t *testing.T) {
	t.Parallel()
	for name, g := range map[string]*guarded{"external": external(t), "embedded": embedded(t)} {
		t.Run(name, func(t *testing.T) {
			g.t = t
			gateway := g.connect(server.UserGateway)
			subject := events.RestoreCancelSubject("r1")
			if _, err := gateway.Request(subject, []byte("{}"), brokertest.Timeout); !errors.Is(err, nats.ErrNoResponders) {
				t.Errorf("without a restorer: %v", err)
			}
			const restorers = 2
			for range restorers {
				nc := g.connect(server.UserRestorer)
				_, err := nc.Subscribe(events.RestoreCancelFilter, func(m *nats.Msg) { _ = m.Respond([]byte("recorded")) })
				must(t, err)
				must(t, nc.Flush())
			}
			inbox := gateway.NewInbox()
			answers, err := gateway.SubscribeSync(inbox)
			must(t, err)
			for _, reply := range []string{"backup.completed.acme.r1", inbox} { // each restorer answers in this order
				must(t, gateway.PublishRequest(subject, reply, []byte("{}")))
			}
			for range restorers {
				m, err := answers.NextMsg(brokertest.Timeout)
				must(t, err)
				if string(m.Data) != "recorded" {
					t.Errorf("answered %q", m.Data)
				}
			}
			outcomes, err := stream(t, g.admin).Stream(t.Context(), events.StreamOutcomes)
			must(t, err)
			if n := outcomes.CachedInfo().State.Msgs; n != 0 {
				t.Errorf("%d outcomes were forged", n)
			}
		})
	}
}
