package e2e_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/broker/server"
)

// operations are all calls of the API over NATS.
var operations = []string{events.CallRequest, events.CallStatus, events.CallCancel, events.CallList}

// callOver makes a call over NATS. It returns the export of a success, the code of an error, and the body.
func callOver(t *testing.T, nc *nats.Conn, project, operation, body string) (e shownExport, code, text string) {
	t.Helper()
	m, err := nc.Request(events.CallSubject(project, operation), []byte(body), timeout)
	if err != nil {
		t.Fatalf("%s of %s: %v, %v", operation, project, err, nc.LastError())
	}
	if code = m.Header.Get("Nats-Service-Error-Code"); code == "" {
		if err := json.Unmarshal(m.Data, &e); err != nil {
			t.Fatalf("%s: %v", m.Data, err)
		}
	}
	return e, code, string(m.Data)
}

// awaitState waits until an export is in a state.
func awaitState(t *testing.T, nc *nats.Conn, project, id, state string) (e shownExport) {
	t.Helper()
	eventually(t, project+"/"+id+" is "+state, func() bool {
		e, _, _ = callOver(t, nc, project, events.CallStatus, fmt.Sprintf(`{"request_id":%q}`, id))
		return e.State == state
	})
	return e
}

// A publisher of one project requests, follows and cancels over NATS. The broker refuses every call
// for another project: publishers x projects x calls.
func TestAPublisherCallsTheAPIForItsProjectAlone(t *testing.T) {
	t.Parallel()
	projects := []string{"acme", "globex", "quoted"}
	p, keys := setupPublishers(t, projects...)
	s := p.startAPI()
	s.awaitLog("API answers calls over NATS")
	p.start("CONCURRENCY=2", "PG_BIN_DIR="+fakePgDump(t, `case "$*" in *tenant_acme*) sleep 600;; esac; exec "$real" "$@"`))

	acme := p.as("acme", keys["acme"])
	if e, code, text := callOver(t, acme, "acme", events.CallRequest, `{"request_id":"one"}`); e.State != "waiting" || e.ID != "one" {
		t.Fatalf("%s %s", code, text)
	}
	p.outcomes++
	awaitState(t, acme, "acme", "one", "running")
	for _, project := range []string{"globex", "quoted"} {
		nc := p.as(project, keys[project])
		if _, code, text := callOver(t, nc, project, events.CallRequest, `{"request_id":"one"}`); code != "" {
			t.Fatalf("%s %s", code, text)
		}
		p.outcomes++
		if e := awaitState(t, nc, project, "one", "completed"); e.Outcome["project_id"] != project {
			t.Errorf("the outcome of %s: %v", project, e.Outcome)
		}
		if _, code, text := callOver(t, nc, project, events.CallCancel, `{"request_id":"one"}`); code != "too_late" {
			t.Errorf("cancel of a completed one: %s", text)
		}
	}

	tried, leaks := 0, 0
	refuse := func(of, what string, do func(nc *nats.Conn) error) {
		tried++
		nc := p.as(of, keys[of])
		defer nc.Close()
		if err := errors.Join(do(nc), nc.FlushTimeout(timeout)); err != nil {
			t.Fatal(err)
		}
		if !errors.Is(nc.LastError(), nats.ErrPermissionViolation) {
			leaks++
			t.Errorf("the publisher of %s may %s", of, what)
		}
	}
	for _, of := range projects {
		for _, project := range append(projects, "nobody", "*", "acme-2") {
			if project == of {
				continue
			}
			for _, operation := range append(operations, "replay", ">") {
				subject := events.CallSubject(project, operation)
				refuse(of, "call "+subject, func(nc *nats.Conn) error {
					return nc.PublishRequest(subject, nc.NewInbox(), []byte(`{"request_id":"one"}`))
				})
			}
		}
		for _, subject := range []string{"$SRV.PING", "$SRV.INFO.pgcourier-api", "$SRV.STATS", "backup.cancel.one"} {
			refuse(of, "publish on "+subject, func(nc *nats.Conn) error { return nc.PublishRequest(subject, nc.NewInbox(), nil) })
		}
		for _, subject := range []string{"backup.api.>", "backup.api.*.*", "backup.api." + of + ".status", "$SRV.>", "_INBOX.>", "_INBOX_api.>", "_R_.>"} {
			refuse(of, "listen on "+subject, func(nc *nats.Conn) error { _, err := nc.SubscribeSync(subject); return err })
		}
	}
	t.Logf("%d calls that a publisher may not make: %d leaks", tried, leaks)

	// Its own cancel reaches the worker in the middle of the dump; the calls of others changed
	// nothing.
	if _, code, text := callOver(t, acme, "acme", events.CallCancel, `{"request_id":"one"}`); code != "" {
		t.Errorf("%s %s", code, text)
	}
	p.failed("acme", "one", codes.Cancelled, 1)
	awaitState(t, acme, "acme", "one", "cancelled")
	var page struct{ Exports []shownExport }
	_, _, text := callOver(t, acme, "acme", events.CallList, "")
	if err := json.Unmarshal([]byte(text), &page); err != nil || len(page.Exports) != 1 || page.Exports[0].Project != "acme" {
		t.Errorf("listed %s", text)
	}
	for _, w := range p.workers {
		if text := w.logs.String(); strings.Contains(text, "ermissions") {
			t.Errorf("refused something:\n%s", text)
		}
	}
}

// gateway connects as the gateway.
func (p *platform) gateway() *nats.Conn {
	p.t.Helper()
	key, err := nats.NkeyOptionFromSeed(server.KeyFile(p.keys, server.UserGateway))
	if err != nil {
		p.t.Fatal(err)
	}
	nc, err := nats.Connect(p.broker.ClientURL(), key, nats.CustomInboxPrefix(server.UserGateway.InboxPrefix()))
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(nc.Close)
	return nc
}

// The gateway may call for every project, and finds the service and its counts.
func TestAGatewayFindsTheAPI(t *testing.T) {
	t.Parallel()
	p := setup(t)
	s := p.startAPI()
	s.awaitLog("API answers calls over NATS")
	p.start() // it makes the folder of the storage
	nc := p.gateway()
	for _, project := range []string{"acme", "globex"} {
		if _, code, text := callOver(t, nc, project, events.CallList, ""); code != "" {
			t.Errorf("%s %s", code, text)
		}
	}
	for verb, want := range map[string]string{"PING": "ping_response", "INFO": `"backup.api.*.status"`, "STATS": `"num_requests"`} {
		answers, err := nc.SubscribeSync(nc.NewInbox())
		if err == nil {
			err = nc.PublishRequest("$SRV."+verb+".pgcourier-api", answers.Subject, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
		for n := range broker.ServiceInstances {
			m, err := answers.NextMsg(timeout)
			if err != nil {
				t.Fatalf("%s: %d of %d instances answered: %v", verb, n, broker.ServiceInstances, err)
			}
			if !strings.Contains(string(m.Data), want) {
				t.Errorf("%s: %s", verb, m.Data)
			}
		}
	}
	if m, err := nc.Request(events.CallSubject("acme", events.CallStatus), []byte(`{"request_id":"none"}`), timeout); err != nil || m.Header.Get("Nats-Service-Error-Code") != "not_found" || m.Header.Get("Nats-Service-Error") == "" {
		t.Errorf("%v, %v", err, m)
	}
}

// One of two processes is stopped while calls come: every call is answered.
func TestNoCallOverNATSIsLostWhenAProcessStops(t *testing.T) {
	t.Parallel()
	p := setup(t)
	p.start() // it makes the folder of the storage
	first, second := p.startAPI(), p.startAPI()
	first.awaitLog("API answers calls over NATS")
	second.awaitLog("API answers calls over NATS")
	nc := p.gateway()
	stop, many := make(chan struct{}), make(chan struct{})
	var count atomic.Int64
	var callers sync.WaitGroup
	for i := range 4 {
		callers.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				m, err := nc.Request(events.CallSubject(fmt.Sprintf("p%d-%d", i, n), events.CallList), nil, timeout)
				if err != nil || m.Header.Get("Nats-Service-Error-Code") != "" {
					t.Errorf("call %d of %d: %v, %v", n, i, err, m)
				}
				if count.Add(1) == 100 {
					close(many)
				}
			}
		})
	}
	<-many
	first.term()
	first.await()
	close(stop)
	callers.Wait()
	if first.err != nil {
		t.Errorf("the process ended with %v", first.err)
	}
}

// A folder of keys from an earlier version has none for the API. The API then uses the operator's,
// without calls over NATS.
func TestTheAPIGoesOnWithTheOperatorsKey(t *testing.T) {
	t.Parallel()
	p := setup(t)
	keys := t.TempDir()
	seed, err := os.ReadFile(server.KeyFile(p.keys, server.UserOperator))
	if err == nil {
		err = os.WriteFile(filepath.Join(keys, "operator.nk"), seed, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	s := p.startAPI("NATS_KEYS=" + keys)
	s.awaitLog("calls over NATS are not answered: this login may not listen for them, give the role api a key of its own")
	tok := p.token("acme", "export,read")
	if status, e, text := s.call("POST", "/v1/projects/acme/exports", tok, "", "Idempotency-Key", "one"); status != 202 || e.State != "waiting" {
		t.Errorf("%d %s", status, text)
	}
	p.start()
	p.outcomes++
	p.completed("acme", "one")
}
