package api_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/pgcourier/pgcourier/internal/api"
	"github.com/pgcourier/pgcourier/internal/api/access"
	"github.com/pgcourier/pgcourier/internal/dev/brokertest"
	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/libpq/controlplane"
	"github.com/pgcourier/pgcourier/internal/pgcluster"
	"github.com/pgcourier/pgcourier/internal/secret"
)

func TestAPanicIsAProblemWithAnID(t *testing.T) {
	t.Parallel()
	b := setup(t, func(c *api.Config) {
		c.Mounts = map[string]http.Handler{"GET /boom": http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("secret-detail") })}
	})
	got := b.call("GET", "/boom?token=secret", "", "")
	p := got.problem(t)
	if got.status != http.StatusInternalServerError || p.ID == "" || p.Code != "internal_error" || strings.Contains(string(got.body), "secret") {
		t.Errorf("%d %s", got.status, got.body)
	}
	if log := b.log.String(); !strings.Contains(log, p.ID) || !strings.Contains(log, "secret-detail") || strings.Contains(log, "token=secret") {
		t.Errorf("the log: %s", log)
	}
}

func TestCallersAreHeldToTheirRate(t *testing.T) {
	t.Parallel()
	b := setup(t, func(c *api.Config) { c.Rate = 0.001 })
	one, two := b.token("acme", access.Read), b.token("acme", access.Read)
	if got := b.call("GET", "/v1/whoami", one, ""); got.status != http.StatusOK {
		t.Fatalf("%d %s", got.status, got.body)
	}
	got := b.call("GET", "/v1/whoami", one, "")
	if p := got.problem(t); got.status != http.StatusTooManyRequests || p.Code != "rate_limited" || got.header.Get("Retry-After") == "" {
		t.Errorf("%d %v %s", got.status, got.header, got.body)
	}
	if got := b.call("GET", "/v1/whoami", two, ""); got.status != http.StatusOK {
		t.Errorf("another caller: %d", got.status)
	}
}

// The use of a token is a commit. While one call waits for it, others of the token are answered.
func TestOneCallNotesTheUseOfAToken(t *testing.T) {
	t.Parallel()
	b := setup(t)
	tok := b.token("acme", access.Read)
	tx, err := b.pool.Begin(t.Context())
	b.must(err)
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
	_, err = tx.Exec(t.Context(), "SELECT FROM pgcourier.api_tokens FOR UPDATE")
	b.must(err)
	first := make(chan answer, 1)
	go func() {
		got, err := b.try("GET", "/v1/whoami", tok, "")
		if err != nil {
			t.Error(err)
		}
		first <- got
	}()
	for waiting := 0; waiting == 0; {
		b.must(b.pool.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'").Scan(&waiting))
	}
	if got := b.call("GET", "/v1/whoami", tok, ""); got.status != http.StatusOK {
		t.Errorf("the second call: %d %s", got.status, got.body)
	}
	select {
	case got := <-first:
		t.Errorf("the first call did not wait: %d %s", got.status, got.body)
	default:
	}
	b.must(tx.Rollback(t.Context()))
	if got := <-first; got.status != http.StatusOK {
		t.Errorf("the first call: %d %s", got.status, got.body)
	}
	var noted bool
	b.must(b.pool.QueryRow(t.Context(), "SELECT last_used_at IS NOT NULL FROM pgcourier.api_tokens").Scan(&noted))
	if !noted {
		t.Error("the use was not noted")
	}
}

func TestTheLogHoldsNoTokenAndNoPath(t *testing.T) {
	t.Parallel()
	observed := map[string]int{}
	b := setup(t, func(c *api.Config) {
		c.Observe = func(route string, status int, _ time.Duration) { observed[route] = status }
	})
	tok := b.token("acme", access.Read)
	b.call("GET", acme+"/an-id", tok, "")
	b.call("GET", "/d/a-secret-link", tok, "")
	b.call("GET", "/"+strings.Repeat("x", 500), "pgc_bad", "")
	log := b.log.String()
	for _, secret := range []string{tok, tok[4:20], "a-secret-link", "pgc_bad", "an-id", "xxxx"} {
		if strings.Contains(log, secret) {
			t.Errorf("the log holds %q", secret)
		}
	}
	if !strings.Contains(log, "subject=token:") || !strings.Contains(log, "address=127.0.0.1") {
		t.Errorf("the log names no caller: %s", log)
	}
	if observed["GET /v1/projects/{project}/exports/{id}"] != http.StatusNotFound || observed["/"] != http.StatusNotFound || len(observed) != 2 {
		t.Errorf("observed %v", observed)
	}
}

// The caller's own value of X-Forwarded-For is not used.
func TestTheAddressIsTheProxys(t *testing.T) {
	t.Parallel()
	for behind, want := range map[bool]string{false: "127.0.0.1", true: "192.0.2.9"} {
		b := setup(t, func(c *api.Config) { c.BehindProxy = behind })
		b.call("GET", "/v1/whoami", b.token("acme", access.Read), "", "X-Forwarded-For", "10.0.0.1, 192.0.2.9")
		var from string
		b.must(b.pool.QueryRow(t.Context(), "SELECT last_used_from FROM pgcourier.api_tokens").Scan(&from))
		if from != want {
			t.Errorf("behind a proxy %t: %q, want %q", behind, from, want)
		}
	}
}

// Without a broker a call gets an error, nothing is lost, and the repeat with the same key runs
// once.
func TestABrokerOutageIsReportedAndTheRepeatIsOneExport(t *testing.T) {
	t.Parallel()
	b := setup(t)
	tok := b.token("acme", access.Export, access.Read)
	lost := b.nc.StatusChanged(nats.RECONNECTING)
	b.broker.Shutdown()
	brokertest.Receive(t, lost)
	got := b.call("POST", acme, tok, `{}`, "Idempotency-Key", "one")
	if p := got.problem(t); got.status != http.StatusServiceUnavailable || p.Code != "unavailable" || p.RequestID != "one" || got.header.Get("Retry-After") == "" {
		t.Errorf("without a broker: %d %s", got.status, got.body)
	}
	if got := b.call("GET", acme, tok, ""); got.status != http.StatusOK {
		t.Errorf("listing without a broker: %d %s", got.status, got.body)
	}
	other := setup(t, func(c *api.Config) { c.Ledger = b.ledger })
	for range 2 {
		if got := other.call("POST", acme, tok, `{}`, "Idempotency-Key", "one"); got.status != http.StatusAccepted {
			t.Errorf("the repeat: %d %s", got.status, got.body)
		}
	}
	if n := other.queued(); n != 1 {
		t.Errorf("%d requests are queued, want 1", n)
	}
}

// While the ledger's server is stopped every call gets an error, nothing is queued, and the repeat runs once.
func TestALedgerOutageIsReportedAndTheRepeatIsOneExport(t *testing.T) {
	t.Parallel()
	own, err := pgcluster.Start(t.Context(), pgcluster.Config{InMemory: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := own.Stop(); err != nil {
			t.Error(err)
		}
	})
	pool, err := controlplane.Connect(t.Context(), secret.String(own.URL("postgres")), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	l, err := ledger.Open(t.Context(), ledger.Config{Pool: pool})
	if err != nil {
		t.Fatal(err)
	}
	b := setup(t, func(c *api.Config) { c.Ledger = l })
	b.ledger = l
	tok := b.token("acme", access.Export, access.Read)
	if got := b.call("GET", acme, tok, ""); got.status != http.StatusOK {
		t.Fatalf("before the outage: %d %s", got.status, got.body)
	}
	// The first calls find sessions that the server has ended, the others a closed port.
	b.must(own.Halt(t.Context(), "fast"))
	for range 3 {
		for _, c := range []struct{ method, path, body string }{
			{"POST", acme, `{}`}, {"GET", acme, ""}, {"GET", acme + "/two", ""}, {"GET", acme + "/two/events", ""},
		} {
			got := b.call(c.method, c.path, tok, c.body, "Idempotency-Key", "two")
			if p := got.problem(t); got.status != http.StatusServiceUnavailable || p.Code != "unavailable" || got.header.Get("Retry-After") == "" {
				t.Errorf("%s %s without a ledger: %d %v %s", c.method, c.path, got.status, got.header, got.body)
			}
		}
	}
	if n := b.queued(); n != 0 {
		t.Errorf("%d requests are queued, want 0", n)
	}
	b.must(own.Resume(t.Context()))
	for range 2 {
		if got := b.call("POST", acme, tok, `{}`, "Idempotency-Key", "two"); got.status != http.StatusAccepted {
			t.Errorf("the repeat: %d %s", got.status, got.body)
		}
	}
	if n := b.queued(); n != 1 {
		t.Errorf("%d requests are queued, want 1", n)
	}
}

// raw sends bytes that no client library writes.
func (b *bench) raw(text string) (status string, closed bool) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), brokertest.Timeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", strings.TrimPrefix(b.url, "http://"))
	b.must(err)
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(brokertest.Timeout))
	_, err = conn.Write([]byte(text))
	b.must(err)
	r := bufio.NewReader(conn)
	status, err = r.ReadString('\n')
	return strings.TrimSpace(status), err != nil
}

func TestSmuggledAndMalformedCallsAreRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	tok := b.token("acme", access.Admin)
	auth := "Authorization: Bearer " + tok + "\r\n"
	for name, c := range map[string]struct{ text, want string }{
		"both lengths":       {"POST " + acme + " HTTP/1.1\r\nHost: x\r\n" + auth + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /v1/whoami HTTP/1.1\r\nHost: x\r\n\r\n", ""},
		"two lengths":        {"POST " + acme + " HTTP/1.1\r\nHost: x\r\n" + auth + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ", "400"},
		"odd encoding":       {"POST " + acme + " HTTP/1.1\r\nHost: x\r\n" + auth + "Transfer-Encoding: xchunked\r\n\r\n{}", "501"},
		"two authorizations": {"GET /v1/whoami HTTP/1.1\r\nHost: x\r\n" + auth + "Authorization: Bearer x\r\n\r\n", "401"},
		"a path upwards":     {"GET /v1/projects/acme/exports/../../globex/exports HTTP/1.1\r\nHost: x\r\n" + auth + "\r\n", "307"},
		"an encoded path":    {"GET /v1/projects/acme/exports/..%2f..%2fglobex HTTP/1.1\r\nHost: x\r\n" + auth + "\r\n", "404"},
		"a null byte":        {"GET /v1/projects/acme/exports/a%00b HTTP/1.1\r\nHost: x\r\n" + auth + "\r\n", "404"},
		"a line break":       {"GET /v1/projects/acme/exports/a%0d%0aSet-Cookie:x HTTP/1.1\r\nHost: x\r\n" + auth + "\r\n", "404"},
		"no host":            {"GET /v1/whoami HTTP/1.1\r\n" + auth + "\r\n", "400"},
		"bad version":        {"GET /v1/whoami HTTP/9.9\r\nHost: x\r\n\r\n", "505"},
		"rubbish":            {"\x16\x03\x01\x02\x00\r\n\r\n", "400"},
	} {
		status, _ := b.raw(c.text)
		if !strings.Contains(status, c.want) || strings.Contains(status, " 500") {
			t.Errorf("%s: %q, want %s", name, status, c.want)
		}
	}
	for i := range 3 {
		if got := b.call("POST", acme, tok, `{}`, "Idempotency-Key", fmt.Sprint("after-", i)); got.status != http.StatusAccepted {
			t.Errorf("afterwards: %d %s", got.status, got.body)
		}
	}
	if got := b.call("GET", acme, tok, strings.Repeat("x", 200_000)); got.status >= 500 {
		t.Errorf("a body for a GET: %d", got.status)
	}
}
