package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/api"
	"github.com/pgcourier/pgcourier/internal/api/access"
	"github.com/pgcourier/pgcourier/internal/dev/brokertest"
)

// serveCalls lets the API answer calls over NATS, on a connection of its own.
func (b *bench) serveCalls() *nats.Conn {
	b.t.Helper()
	nc := brokertest.Connect(b.t, b.broker.ClientURL())
	b.must(b.api.ServeCalls(nc, "test"))
	return nc
}

// ask makes a call over NATS. The status of an answer without an error is 202.
func (b *bench) ask(m *nats.Msg) (answer, error) {
	reply, err := b.nc.RequestMsgWithContext(b.t.Context(), m)
	if err != nil {
		return answer{}, err
	}
	return b.answered(reply), nil
}

func (b *bench) answered(reply *nats.Msg) answer {
	b.t.Helper()
	code := reply.Header.Get(micro.ErrorCodeHeader)
	if code == "" {
		return answer{http.StatusAccepted, http.Header(reply.Header), reply.Data}
	}
	var p api.Problem
	if err := json.Unmarshal(reply.Data, &p); err != nil || string(p.Code) != code || p.Detail != reply.Header.Get(micro.ErrorHeader) {
		b.t.Errorf("the headers %v differ from the problem %s", reply.Header, reply.Data)
	}
	return answer{p.Status, http.Header(reply.Header), reply.Data}
}

// over makes a call of an operation.
func (b *bench) over(project, operation, body string, header ...string) answer {
	b.t.Helper()
	m := &nats.Msg{Subject: events.CallSubject(project, operation), Data: []byte(body), Header: nats.Header{}}
	for i := 0; i < len(header); i += 2 {
		m.Header.Set(header[i], header[i+1])
	}
	got, err := b.ask(m)
	b.must(err)
	return got
}

// rawConn writes header blocks that no client library writes, on the connection of a library.
type rawConn struct {
	b       *bench
	nc      *nats.Conn
	conn    net.Conn
	inbox   string
	answers *nats.Subscription
}

// Dial implements nats.CustomDialer.
func (r *rawConn) Dial(network, address string) (conn net.Conn, err error) {
	r.conn, err = net.Dial(network, address)
	return r.conn, err
}

func (b *bench) rawConnection() *rawConn {
	b.t.Helper()
	r := &rawConn{b: b}
	var err error
	r.nc, err = nats.Connect(b.broker.ClientURL(), nats.SetCustomDialer(r), nats.NoReconnect())
	b.must(err)
	b.t.Cleanup(r.nc.Close)
	r.inbox = r.nc.NewInbox()
	r.answers, err = r.nc.SubscribeSync(r.inbox)
	b.must(err)
	return r
}

func (r *rawConn) request(subject, header string, body []byte) answer {
	r.b.t.Helper()
	r.b.must(r.nc.Flush())
	_, err := r.conn.Write(fmt.Appendf(nil, "HPUB %s %s %d %d\r\n%s%s\r\n", subject, r.inbox, len(header), len(header)+len(body), header, body))
	r.b.must(err)
	m, err := r.answers.NextMsg(brokertest.Timeout)
	r.b.must(err)
	return r.b.answered(m)
}

// A call over NATS and the call over HTTP are the same operation: each sees the effect of the
// other.
func TestCallsOverNATSAreTheCallsOverHTTP(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.serveCalls()
	tok := b.token("acme", access.Export, access.Read)
	const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	for range 2 { // the repeat is the same export
		got := b.over("acme", events.CallRequest, `{"format":"custom"}`, "Idempotency-Key", "one", "traceparent", trace)
		if e := got.export(t); e.RequestID != "one" || e.State != "waiting" || e.RequestedBy != "nats:acme" {
			t.Errorf("asked: %s", got.body)
		}
	}
	if n := b.queued(); n != 1 {
		t.Errorf("%d requests are queued, want 1", n)
	}
	s, err := b.js.Stream(t.Context(), events.StreamRequests)
	b.must(err)
	if m, err := s.GetLastMsgForSubject(t.Context(), "backup.requested.acme"); err != nil || m.Header.Get("traceparent") != trace {
		t.Errorf("the trace was not continued: %v, %v", m, err)
	}
	if p := b.over("acme", events.CallRequest, `{"format":"tar"}`, "Idempotency-Key", "one").problem(t); p.Code != codes.RequestConflict {
		t.Errorf("other contents: %+v", p)
	}
	overHTTP := b.call("GET", acme+"/one", tok, "")
	if got := b.over("acme", events.CallStatus, `{"request_id":"one"}`); !bytes.Equal(got.body, bytes.TrimSpace(overHTTP.body)) {
		t.Errorf("over NATS %s, over HTTP %s", got.body, overHTTP.body)
	}
	var page struct {
		Exports    []json.RawMessage `json:"exports"`
		NextCursor string            `json:"next_cursor"`
	}
	b.over("acme", events.CallRequest, `{"request_id":"two"}`)
	for n, cursor := 0, ""; n < 2; n++ {
		page.NextCursor = ""
		b.over("acme", events.CallList, fmt.Sprintf(`{"limit":1,"state":["waiting"],"cursor":%q}`, cursor)).into(t, &page)
		if cursor = page.NextCursor; len(page.Exports) != 1 || n == 0 && cursor == "" {
			t.Errorf("page %d: %+v", n, page)
		}
	}
	b.over("acme", events.CallList, "").into(t, &page)
	if len(page.Exports) != 2 {
		t.Errorf("all: %d exports", len(page.Exports))
	}
	if p := b.over("acme", events.CallStatus, `{"request_id":"none"}`).problem(t); p.Status != http.StatusNotFound {
		t.Errorf("of no export: %+v", p)
	}
	if p := b.over("acme", events.CallCancel, `{"request_id":"one"}`).problem(t); p.Code != "unavailable" || !strings.Contains(p.Detail, "try again") {
		t.Errorf("a cancel without a worker: %+v", p)
	}
	var calls int
	b.must(b.pool.QueryRow(t.Context(), "SELECT count(*) FROM pgcourier.api_calls WHERE subject = 'nats:acme' AND project_id = 'acme' AND action IN ('create-export', 'cancel-export')").Scan(&calls))
	if calls < 3 {
		t.Errorf("the audit has %d calls", calls)
	}
}

// Pages have the same bounds: by tags in the HTTP API, by the schema of the call over NATS.
func TestPagesHaveTheSameBoundsOverNATSAndHTTP(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.serveCalls()
	tok := b.token("acme", access.Read)
	for query, body := range map[string]string{
		"limit=1": `{"limit":1}`, "limit=200": `{"limit":200}`, "limit=0": `{"limit":0}`, "limit=201": `{"limit":201}`, "limit=x": `{"limit":"x"}`,
		"state=lost": `{"state":["lost"]}`, "state=waiting,running,completed,failed,cancelled": `{"state":["waiting","running","completed","failed","cancelled"]}`,
		"since=2026-01-02T03:04:05Z": `{"since":"2026-01-02T03:04:05Z"}`, "since=x": `{"since":"x"}`, "cursor=x": `{"cursor":"x"}`,
		"cursor=" + strings.Repeat("x", 401): `{"cursor":"` + strings.Repeat("x", 401) + `"}`, "more=1": `{"more":1}`,
	} {
		want := b.call("GET", acme+"?"+query, tok, "").status
		if want == http.StatusOK {
			want = http.StatusAccepted
		}
		if got := b.over("acme", events.CallList, body); got.status != want {
			t.Errorf("%.40s: %d over HTTP, %d over NATS: %s", query, want, got.status, got.body)
		}
	}
}

// The project of the subject is authoritative, not the one in the body.
func TestACallOverNATSIsOfItsSubjectsProject(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.serveCalls()
	attempt, r := b.claim("globex", "there")
	b.complete(attempt, r)
	for _, body := range []string{`{"request_id":"there"}`, `{"request_id":"there","project_id":"acme"}`, `{"request_id":"missing"}`} {
		for _, operation := range []string{events.CallStatus, events.CallCancel} {
			if p := b.over("acme", operation, body).problem(t); p.Code != "not_found" {
				t.Errorf("%s of %s: %+v", operation, body, p)
			}
		}
	}
	for _, operation := range []string{events.CallRequest, events.CallStatus, events.CallCancel} {
		if p := b.over("acme", operation, `{"request_id":"there","project_id":"globex"}`).problem(t); p.Code != codes.InvalidRequest || p.Field != "project_id" {
			t.Errorf("%s for another project: %+v", operation, p)
		}
	}
	for _, project := range []string{"_", "a$b", "ä", strings.Repeat("x", 101)} {
		for _, operation := range []string{events.CallRequest, events.CallStatus, events.CallCancel, events.CallList} {
			if p := b.over(project, operation, `{}`).problem(t); p.Code != codes.InvalidRequest {
				t.Errorf("%s of %s: %+v", operation, project, p)
			}
		}
	}
	if n := b.queued(); n != 0 {
		t.Errorf("%d requests are queued", n)
	}
}

// A call is not carried out if the caller may not publish to its reply subject.
func TestACallWithoutAnInboxIsNotCarriedOut(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.serveCalls()
	for _, reply := range []string{"", "backup.requested.globex", "backup.completed.acme.one", "restore.completed.globex.one", "$KV.BACKUP_NOTIFICATION_STATES.k1"} {
		b.must(b.nc.PublishMsg(&nats.Msg{Subject: "backup.api.acme.request", Reply: reply, Data: []byte(`{"request_id":"one"}`)}))
	}
	brokertest.Eventually(t, "the log says so of each", func() bool {
		return strings.Count(b.log.String(), "call over NATS without an inbox for the answer, not carried out") == 5
	})
	if p := b.over("acme", events.CallStatus, `{"request_id":"one"}`).problem(t); p.Code != "not_found" {
		t.Errorf("it was asked for: %+v", p)
	}
}

func TestCallsOverNATSAreHeldToTheirRate(t *testing.T) {
	t.Parallel()
	b := setup(t, func(c *api.Config) { c.Rate = 0.001 })
	b.serveCalls()
	if got := b.over("acme", events.CallList, ""); got.status != http.StatusAccepted {
		t.Fatalf("%s", got.body)
	}
	got := b.over("acme", events.CallList, "")
	if p := got.problem(t); p.Code != "rate_limited" || got.header["Retry-After"] == nil {
		t.Errorf("%v %s", got.header, got.body)
	}
	if got := b.over("globex", events.CallList, ""); got.status != http.StatusAccepted {
		t.Errorf("another project: %s", got.body)
	}
}

// services sends a question to every instance of the service.
func services[T any](b *bench, verb micro.Verb, count int) (out []T) {
	b.t.Helper()
	subject, err := micro.ControlSubject(verb, api.ServiceName, "")
	b.must(err)
	inbox := b.nc.NewInbox()
	answers, err := b.nc.SubscribeSync(inbox)
	b.must(err)
	defer func() { b.must(answers.Unsubscribe()) }()
	b.must(b.nc.PublishRequest(subject, inbox, nil))
	for range count {
		m, err := answers.NextMsg(brokertest.Timeout)
		b.must(err)
		var v T
		b.must(json.Unmarshal(m.Data, &v))
		out = append(out, v)
	}
	return out
}

// Discovery lists the operations, and the statistics count calls and errors. Two processes share
// the calls.
func TestTheServiceIsFoundAndCounts(t *testing.T) {
	t.Parallel()
	observed := make(chan string, 100)
	b := setup(t, func(c *api.Config) {
		c.Version = "v1.2.3"
		c.Observe = func(route string, status int, _ time.Duration) { observed <- fmt.Sprint(route, " ", status) }
	})
	b.serveCalls()
	b.serveCalls()
	const instances = 16 // 8 of each process
	for _, p := range services[micro.Ping](b, micro.PingVerb, instances) {
		if p.Name != "pgcourier-api" || p.Version != "1.2.3" || p.Metadata["process"] != "test" {
			t.Errorf("%+v", p)
		}
	}
	for _, i := range services[micro.Info](b, micro.InfoVerb, instances) {
		var subjects []string
		for _, e := range i.Endpoints {
			subjects = append(subjects, e.Subject)
		}
		if want := []string{"backup.api.*.request", "backup.api.*.status", "backup.api.*.cancel", "backup.api.*.list"}; !slices.Equal(subjects, want) {
			t.Errorf("the operations are %v", subjects)
		}
	}
	for range 40 {
		b.over("acme", events.CallList, "")
	}
	for range 3 {
		b.over("acme", events.CallStatus, `{"request_id":"none"}`)
	}
	for range 43 {
		if got := brokertest.Receive(t, observed); got != "NATS backup.api.{project}.list 200" && got != "NATS backup.api.{project}.status 404" {
			t.Errorf("observed %s", got)
		}
	}
	// An instance counts a call after it has answered it.
	brokertest.Eventually(t, "all calls and errors are counted", func() bool {
		counts, errors := map[string]int{}, 0
		for _, s := range services[micro.Stats](b, micro.StatsVerb, instances) {
			for _, e := range s.Endpoints {
				counts[e.Name] += e.NumRequests
				errors += e.NumErrors
				if e.NumErrors > 0 && e.LastError != "not_found:there is no such export" {
					t.Errorf("the last error is %q", e.LastError)
				}
			}
		}
		return counts["list"] == 40 && counts["status"] == 3 && counts["request"]+counts["cancel"] == 0 && errors == 3
	})
}

// Calls that have arrived are answered; later calls go to another process.
func TestADrainAnswersTheCallsThatHaveCome(t *testing.T) {
	t.Parallel()
	b := setup(t)
	nc := b.serveCalls()
	inbox := b.nc.NewInbox()
	answers, err := b.nc.SubscribeSync(inbox)
	b.must(err)
	const n = 200
	for i := range n {
		b.must(b.nc.PublishRequest(fmt.Sprintf("backup.api.p%d.request", i), inbox, []byte(`{}`)))
	}
	b.must(b.nc.Flush())
	b.must(nc.Flush()) // all of them have reached the process
	closed := nc.StatusChanged(nats.CLOSED)
	b.must(nc.Drain())
	brokertest.Receive(t, closed)
	for range n {
		m, err := answers.NextMsg(brokertest.Timeout)
		b.must(err)
		if m.Header.Get(micro.ErrorCodeHeader) != "" {
			t.Errorf("%s", m.Data)
		}
	}
	b.serveCalls()
	if got := b.over("acme", events.CallList, ""); got.status != http.StatusAccepted {
		t.Errorf("another process: %s", got.body)
	}
}
