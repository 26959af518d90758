package broker_test

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/internal/broker"
)

// An answer to a subject of a stream would be stored there, as a request or an event.
func TestNoSubjectOfAStreamIsAnInbox(t *testing.T) {
	t.Parallel()
	js := stream(t, fresh(t))
	topology := broker.Topology{Verifier: true, Restores: true, Notifications: []string{"email"}}
	must(t, broker.Provision(t.Context(), js, topology))
	must(t, broker.ProvisionSchedules(t.Context(), js, topology))
	olderBuild(t, js, 0)
	streams := js.ListStreams(t.Context())
	seen := map[string]bool{}
	for s := range streams.Info() {
		for _, subject := range s.Config.Subjects {
			seen[strings.SplitN(subject, ".", 2)[0]] = true
			if broker.IsInbox(strings.NewReplacer("*", "x", ">", "x").Replace(subject)) {
				t.Errorf("%s of %s is an inbox", subject, s.Config.Name)
			}
		}
	}
	must(t, streams.Err())
	for _, root := range []string{"backup", "restore", "$KV", "$JS"} {
		if !seen[root] {
			t.Errorf("no stream has a subject below %s: %v", root, seen)
		}
	}
	for subject, want := range map[string]bool{nats.NewInbox(): true, "_INBOX_gateway_acme.x.y": true, "$JS.API.STREAM.PURGE.BACKUP_REQUESTS": false, "": false, jetstream.DefaultAPIPrefix + "x": false} {
		if broker.IsInbox(subject) != want {
			t.Errorf("%q: want %t", subject, want)
		}
	}
}
