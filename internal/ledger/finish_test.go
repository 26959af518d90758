package ledger_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/ledger"
)

func TestASupersededAttemptChangesNothing(t *testing.T) {
	t.Parallel()
	r := request("r1", `{}`)
	for name, takeOver := range map[string]func(t *testing.T, b *bench){
		"claimed by another": func(t *testing.T, b *bench) { b.granted(t, claimOf(r, 2)) },
		"retried by another": func(t *testing.T, b *bench) {
			tok := b.granted(t, claimOf(r, 2))
			if err := b.Finish(t.Context(), tok, export.Ending{Retry: &export.Fault{Code: codes.DumpFailed}}); err != nil {
				t.Fatal(err)
			}
		},
		"completed by another": func(t *testing.T, b *bench) {
			tok := b.granted(t, claimOf(r, 2))
			if err := b.Finish(t.Context(), tok, export.Ending{Outcome: outcome(tok, r)}); err != nil {
				t.Fatal(err)
			}
		},
		"reaped": func(t *testing.T, b *bench) {
			if _, err := b.FailStranded(t.Context(), export.Stranded{ID: r.ID, Attempt: 1}, 0); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			old := b.granted(t, claimOf(r, 1))
			b.expire(t)
			takeOver(t, b)
			before := b.fingerprint(t)
			for what, err := range map[string]error{
				"renew":    b.Renew(t.Context(), old),
				"complete": b.Finish(t.Context(), old, export.Ending{Outcome: outcome(old, r)}),
				"fail":     b.Finish(t.Context(), old, export.Ending{Outcome: failure(r, 1, codes.SizeLimit)}),
				"retry":    b.Finish(t.Context(), old, export.Ending{Retry: &export.Fault{Code: codes.DumpFailed}}),
			} {
				if !errors.Is(err, export.ErrSuperseded) {
					t.Errorf("%s: %v, want superseded", what, err)
				}
			}
			if after := b.fingerprint(t); after != before {
				t.Errorf("the ledger changed from\n%s\nto\n%s", before, after)
			}
		})
	}
}

func TestFinishingTwiceIsTheSameAsOnce(t *testing.T) {
	t.Parallel()
	r := request("r1", `{}`)
	for name, end := range map[string]func(export.Token) export.Ending{
		"completed": func(tok export.Token) export.Ending { return export.Ending{Outcome: outcome(tok, r)} },
		"failed":    func(export.Token) export.Ending { return export.Ending{Outcome: failure(r, 1, codes.SizeLimit)} },
		"retry": func(export.Token) export.Ending {
			return export.Ending{Retry: &export.Fault{Code: codes.DumpFailed, Message: "m"}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			tok := b.granted(t, claimOf(r, 1))
			if err := b.Finish(t.Context(), tok, end(tok)); err != nil {
				t.Fatal(err)
			}
			before := b.fingerprint(t)
			if err := b.Finish(t.Context(), tok, end(tok)); err != nil {
				t.Errorf("again: %v, want success", err)
			}
			if after := b.fingerprint(t); after != before {
				t.Errorf("the ledger changed from\n%s\nto\n%s", before, after)
			}
			if err := b.Renew(t.Context(), tok); !errors.Is(err, export.ErrSuperseded) {
				t.Errorf("renew after the end: %v, want superseded", err)
			}
		})
	}
}

func TestFinishTakesOnlyOneMeaningfulEnding(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := request("r1", `{}`)
	tok := b.granted(t, claimOf(r, 1))
	running := failure(r, 1, codes.SizeLimit)
	running.State = export.Running
	for name, e := range map[string]export.Ending{
		"nothing":        {},
		"both":           {Outcome: outcome(tok, r), Retry: &export.Fault{}},
		"not terminal":   {Outcome: running},
		"other requests": {Outcome: failure(request("r2", `{}`), 1, codes.SizeLimit)},
	} {
		if err := b.Finish(t.Context(), tok, e); err == nil || errors.Is(err, export.ErrSuperseded) {
			t.Errorf("%s: %v, want a refusal", name, err)
		}
	}
	if err := b.Finish(t.Context(), tok, export.Ending{Outcome: outcome(tok, r)}); err != nil {
		t.Errorf("the right one: %v", err)
	}
}

func TestAnOutcomeWithoutAnEndGetsTheLedgersClock(t *testing.T) {
	t.Parallel()
	b := setup(t)
	// Keys out of order, spaces and HTML: the payload comes back byte for byte.
	r := request("r1", `{"z": 1,  "a": "<&>"}`)
	tok := b.granted(t, claimOf(r, 1))
	if err := b.Finish(t.Context(), tok, export.Ending{Outcome: failure(r, 1, codes.SizeLimit)}); err != nil {
		t.Fatal(err)
	}
	c, err := b.Claim(t.Context(), claimOf(r, 2))
	if err != nil {
		t.Fatal(err)
	}
	var finished time.Time
	b.scan(t, "SELECT finished_at FROM pgcourier.requests", &finished)
	if !c.Outcome.FinishedAt.Equal(finished) {
		t.Errorf("finished at %v, want %v", c.Outcome.FinishedAt, finished)
	}
	if string(c.Outcome.Payload) != string(r.Payload) {
		t.Errorf("payload %s, want %s", c.Outcome.Payload, r.Payload)
	}
}

// In a synctest bubble the clock starts in the year 2000.
func TestAWorkersWallClockHasNoEffect(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	synctest.Test(t, func(t *testing.T) {
		pool := newPool(t, url)
		l, err := ledger.Open(t.Context(), ledger.Config{Pool: pool})
		if err != nil {
			t.Fatal(err)
		}
		b := &bench{l, pool, url}
		r := request("r1", `{}`)
		ask := claimOf(r, 1)
		c, err := b.Claim(t.Context(), ask)
		if err != nil || c.Verdict != export.Granted {
			t.Fatalf("%v %v, want granted", c.Verdict, err)
		}
		if off := time.Until(c.Started); off < 20*365*24*time.Hour {
			t.Fatalf("the worker's clock is off by %v, want decades", off)
		}
		if err := b.Renew(t.Context(), c.Token); err != nil {
			t.Error(err)
		}
		var right bool
		b.scan(t, `SELECT lease_until BETWEEN clock_timestamp() AND clock_timestamp() + interval '30 s' FROM pgcourier.requests`, &right)
		if !right {
			t.Error("the lease does not lie within the next 30 s of the database's clock")
		}
		if c, err := b.Claim(t.Context(), claimOf(r, 2)); err != nil || c.Verdict != export.Leased || c.Wait > 30*time.Second {
			t.Errorf("%+v %v, want leased for at most 30 s", c, err)
		}
	})
}
