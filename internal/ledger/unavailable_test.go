package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/dev/pgtest"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/libpq/controlplane"
	"github.com/pgcourier/pgcourier/internal/pgcluster"
	"github.com/pgcourier/pgcourier/internal/pgcluster/freeport"
)

// proxied returns a bench with a proxy between ledger and database that can lose replies; its pool
// goes straight to the server. Every statement has been prepared.
func proxied(t *testing.T) (*bench, *proxy) {
	t.Helper()
	b := setup(t)
	p := newProxy(t, cluster.Port)
	pool := newPool(t, p.url(t, b.url)+"&pool_max_conns=1")
	l, err := ledger.Open(t.Context(), ledger.Config{Pool: pool})
	if err != nil {
		t.Fatal(err)
	}
	straight := b.Ledger
	b.Ledger = l
	warm := request("warm", `{}`)
	tok := b.granted(t, claimOf(warm, 1))
	if err := b.Finish(t.Context(), tok, export.Ending{Outcome: outcome(tok, warm)}); err != nil {
		t.Fatal(err)
	}
	if err := straight.MarkPublished(t.Context(), warm.ID); err != nil {
		t.Fatal(err)
	}
	return b, p
}

func TestAClaimAndAFinishCostOneRoundTripEach(t *testing.T) {
	t.Parallel()
	b, p := proxied(t)
	r := request("r1", `{}`)
	before := p.trips.Load()
	tok := b.granted(t, claimOf(r, 1))
	if n := p.trips.Load() - before; n != 1 {
		t.Errorf("the claim took %d round trips, want 1", n)
	}
	before = p.trips.Load()
	if err := b.Finish(t.Context(), tok, export.Ending{Outcome: outcome(tok, r)}); err != nil {
		t.Fatal(err)
	}
	if n := p.trips.Load() - before; n != 1 {
		t.Errorf("the finish took %d round trips, want 1", n)
	}
}

func TestAFinishWithALostReplyIsFoundAgain(t *testing.T) {
	t.Parallel()
	r := request("r1", `{}`)
	for name, end := range map[string]struct {
		ending func(export.Token) export.Ending
		state  export.State
	}{
		"outcome": {func(tok export.Token) export.Ending { return export.Ending{Outcome: outcome(tok, r)} }, export.Completed},
		"retry": {func(export.Token) export.Ending {
			return export.Ending{Retry: &export.Fault{Code: codes.DumpFailed}}
		}, export.Waiting},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, p := proxied(t)
			tok := b.granted(t, claimOf(r, 1))
			p.loseNextReply()
			if err := b.Finish(t.Context(), tok, end.ending(tok)); !errors.Is(err, export.ErrLedgerUnavailable) {
				t.Fatalf("%v, want ledger unavailable", err)
			}
			var state export.State
			b.scan(t, "SELECT state FROM pgcourier.requests WHERE request_id = 'r1'", &state)
			if state != end.state {
				t.Fatalf("state %s behind the lost reply, want %s", state, end.state)
			}
			before := b.fingerprint(t)
			if err := b.Finish(t.Context(), tok, end.ending(tok)); err != nil {
				t.Errorf("again: %v, want success", err)
			}
			if after := b.fingerprint(t); after != before {
				t.Errorf("the ledger changed from\n%s\nto\n%s", before, after)
			}
		})
	}
}

func TestAClaimWithALostReplyIsGrantedAgain(t *testing.T) {
	t.Parallel()
	b, p := proxied(t)
	c := claimOf(request("r1", `{}`), 1)
	p.loseNextReply()
	if _, err := b.Claim(t.Context(), c); !errors.Is(err, export.ErrLedgerUnavailable) {
		t.Fatalf("%v, want ledger unavailable", err)
	}
	tok := b.granted(t, c)
	if tok.Attempt != 1 {
		t.Errorf("attempt %d, want 1: an outage costs none", tok.Attempt)
	}
	finish(t, b, tok, c.Request)

	c = claimOf(request("r2", `{}`), 1)
	c.Nonce = ""
	p.loseNextReply()
	if _, err := b.Claim(t.Context(), c); !errors.Is(err, export.ErrLedgerUnavailable) {
		t.Fatalf("%v, want ledger unavailable", err)
	}
	if again, err := b.Claim(t.Context(), c); err != nil || again.Verdict != export.Leased {
		t.Errorf("without a nonce: %v %v, want leased", again.Verdict, err)
	}
}

func TestAReapWithALostReplyIsFoundAgain(t *testing.T) {
	t.Parallel()
	b, p := proxied(t)
	for _, id := range []string{"r1", "r2"} {
		b.granted(t, claimOf(request(id, `{}`), 3))
		b.expire(t) // the project's next request may run
	}
	s := func(id string) export.Stranded {
		return export.Stranded{ID: export.ID{Project: "acme", Request: id}, Attempt: 1}
	}
	if _, err := b.FailStranded(t.Context(), s("r1"), 0); err != nil { // prepares
		t.Fatal(err)
	}
	p.loseReply(2) // the first only looks
	if _, err := b.FailStranded(t.Context(), s("r2"), 0); !errors.Is(err, export.ErrLedgerUnavailable) {
		t.Fatalf("%v, want ledger unavailable", err)
	}
	if o, err := b.FailStranded(t.Context(), s("r2"), 0); err != nil || o.Code != codes.WorkerLost || o.Attempt != 1 {
		t.Errorf("again: %+v %v, want its outcome", o, err)
	}
}

func TestAnOutageOfTheControlPlaneIsNotARefusal(t *testing.T) {
	t.Parallel()
	own := pgtest.Start(t, pgcluster.Config{InMemory: true})
	pool := newPool(t, own.URL("postgres"))
	l, err := ledger.Open(t.Context(), ledger.Config{Pool: pool})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{l, pool, own.URL("postgres")}
	r := request("r1", `{}`)
	tok := b.granted(t, claimOf(r, 1))
	for _, mode := range []string{"fast", "immediate"} {
		if err := own.Halt(t.Context(), mode); err != nil {
			t.Fatal(err)
		}
		for range 2 { // first on the connection that was cut, then on none
			_, claimErr := b.Claim(t.Context(), claimOf(r, 2))
			_, listErr := b.List(t.Context(), ledger.Filter{})
			_, openErr := ledger.Open(t.Context(), ledger.Config{Pool: pool})
			for what, err := range map[string]error{
				"claim": claimErr, "list": listErr, "open": openErr, "renew": b.Renew(t.Context(), tok), "ping": b.Ping(t.Context()),
				"finish": b.Finish(t.Context(), tok, export.Ending{Outcome: outcome(tok, r)}),
			} {
				if !errors.Is(err, export.ErrLedgerUnavailable) {
					t.Errorf("%s after %s: %v, want ledger unavailable", what, mode, err)
				}
			}
		}
		if err := own.Resume(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := b.Ping(t.Context()); err != nil {
			t.Errorf("ping after the outage: %v", err)
		}
		if err := b.Renew(t.Context(), tok); err != nil {
			t.Errorf("renew after the outage: %v", err)
		}
	}
}

func TestAStuckDatabaseIsAnOutageAndTheCallersEndIsNone(t *testing.T) {
	t.Parallel()
	b := setup(t)
	tok := b.granted(t, claimOf(request("r1", `{}`), 1))
	impatient, err := ledger.Open(t.Context(), ledger.Config{Pool: b.pool, CallTimeout: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	holder, err := pgx.Connect(t.Context(), b.url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = holder.Close(context.Background()) })
	if _, err := holder.Exec(t.Context(), "BEGIN; LOCK TABLE pgcourier.requests"); err != nil {
		t.Fatal(err)
	}
	if err := impatient.Renew(t.Context(), tok); !errors.Is(err, export.ErrLedgerUnavailable) {
		t.Errorf("own deadline: %v, want ledger unavailable", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := b.Renew(ctx, tok); errors.Is(err, export.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("caller's deadline: %v, want just that", err)
	}
}

func TestAReadOnlyDatabaseIsNotReady(t *testing.T) {
	t.Parallel()
	b := setup(t)
	pool := newPool(t, b.url+"&default_transaction_read_only=on")
	l, err := ledger.Open(t.Context(), ledger.Config{Pool: pool})
	if err != nil {
		t.Fatal(err)
	}
	_, claimErr := l.Claim(t.Context(), claimOf(request("r1", `{}`), 1))
	for what, err := range map[string]error{"ping": l.Ping(t.Context()), "claim": claimErr} {
		if !errors.Is(err, export.ErrLedgerUnavailable) {
			t.Errorf("%s: %v, want ledger unavailable", what, err)
		}
	}
}

func TestARefusalIsNoOutage(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(t, "DROP TABLE pgcourier.attempts")
	if _, err := b.Claim(t.Context(), claimOf(request("r1", `{}`), 1)); err == nil || errors.Is(err, export.ErrUnavailable) {
		t.Errorf("%v, want a plain error", err)
	}
}

func TestConnectNeverShowsTheConnectionString(t *testing.T) {
	t.Parallel()
	_, err := controlplane.Connect(t.Context(), "postgres://u:canary-9@[broken", nil)
	if err == nil || strings.Contains(err.Error(), "canary-9") {
		t.Errorf("%v, want an error without the password", err)
	}
	closed, err := freeport.Get()
	if err != nil {
		t.Fatal(err)
	}
	_, err = ledger.Open(t.Context(), ledger.Config{Pool: newPool(t, fmt.Sprintf("postgres://u:canary-9@127.0.0.1:%d/x?sslmode=disable", closed))})
	if !errors.Is(err, export.ErrLedgerUnavailable) || strings.Contains(err.Error(), "canary-9") {
		t.Errorf("%v, want an outage without the password", err)
	}
}
