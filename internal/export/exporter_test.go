package export_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgdump/archive"
	"github.com/pgcourier/pgcourier/internal/seal"
)

// The tests in internal/dev/e2e run the use case over the real ledger, database, broker and
// storage. These tests cover what the real parts cannot time or provoke.

// script is a ledger with configured answers.
type script struct {
	claims   []export.Claim // one for each call; the last is repeated
	renewals []error
	finish   []error
	endings  []export.Ending
	asked    int
}

func next[T any](list *[]T) (v T) {
	if len(*list) > 0 {
		v = (*list)[0]
	}
	if len(*list) > 1 {
		*list = (*list)[1:]
	}
	return v
}

func (s *script) Claim(_ context.Context, c export.ClaimRequest) (export.Claim, error) {
	s.asked++
	cl := next(&s.claims)
	if cl.Verdict == 0 {
		return cl, export.ErrLedgerUnavailable
	}
	cl.Token = export.Token{ID: c.Request.ID, Attempt: max(cl.Token.Attempt, 1)}
	return cl, nil
}
func (s *script) Renew(context.Context, export.Token) error { return next(&s.renewals) }
func (s *script) Finish(_ context.Context, _ export.Token, e export.Ending) error {
	err := next(&s.finish)
	if err == nil {
		s.endings = append(s.endings, e)
	}
	return err
}

// project is a control plane with one project.
type project struct{}

func (project) Lookup(context.Context, string) (export.Project, error) {
	return export.Project{ID: "p", Schemas: []string{"s"}}, nil
}

// dump returns its script, then blocks until it is closed or ends as configured.
type dump struct {
	io.Reader
	rows   map[export.Table]int64
	closed bool
}

func (d *dump) Info() export.DumpInfo { return export.DumpInfo{ServerVersion: "15.1"} }
func (d *dump) Rows(context.Context) (map[export.Table]int64, error) {
	return d.rows, nil
}
func (d *dump) Close() error { d.closed = true; return nil }

type dumper struct {
	open func(ctx context.Context) (export.Dump, error)
}

func (d dumper) Open(ctx context.Context, _ export.DumpJob) (export.Dump, error) { return d.open(ctx) }

// shelf is a store in memory.
type shelf struct {
	objects map[string]string
	deleted []string
}

func (s *shelf) Put(_ context.Context, key string, r io.Reader, describe func() export.Manifest) ([]export.Copy, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	describe()
	s.objects[key] = string(b)
	return []export.Copy{{URI: "mem:" + key}}, nil
}

func (s *shelf) Delete(_ context.Context, key string) error {
	delete(s.objects, key)
	s.deleted = append(s.deleted, key)
	return nil
}

const whole = "--\n-- PostgreSQL database dump\n--\n\nCOPY s.t (a) FROM stdin;\n1\n2\n\\.\n\n--\n-- PostgreSQL database dump complete\n--\n\n"

type bench struct {
	ledger *script
	shelf  *shelf
	export *export.Exporter
	req    export.Request
}

func newBench(open func(ctx context.Context) (export.Dump, error)) *bench {
	b := &bench{ledger: &script{claims: []export.Claim{{Verdict: export.Granted}}}, shelf: &shelf{objects: map[string]string{}}}
	b.export = export.New(export.Config{
		Ledger: b.ledger, Projects: project{}, Dumper: dumper{open}, Store: b.shelf,
		Inspect: func(f export.Format) (export.Inspector, error) { return archive.NewChecker(f) },
		Lease:   30 * time.Second, Log: slog.New(slog.DiscardHandler),
	})
	b.req = export.Request{ID: export.ID{Project: "p", Request: "r"}, Format: export.SQL, Compression: seal.Plain}
	return b
}

func (b *bench) run(ctx context.Context, d delivery.Delivery) (export.Outcome, error) {
	return b.export.Run(ctx, b.req, d, export.Group{})
}

func good(rows int64) func(context.Context) (export.Dump, error) {
	return func(context.Context) (export.Dump, error) {
		return &dump{Reader: strings.NewReader(whole), rows: map[export.Table]int64{{Schema: "s", Name: "t"}: rows}}, nil
	}
}

func TestAWholeDumpWithTheSnapshotsRowsCompletes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(good(2))
		out, err := b.run(t.Context(), delivery.Delivery{Number: 1})
		if err != nil || out.State != export.Completed || out.Artifact.Rows != 2 || out.Artifact.Tables != 1 {
			t.Fatalf("outcome %+v, %v", out, err)
		}
		if b.shelf.objects["p/r.1.sql"] != whole {
			t.Errorf("stored %q", b.shelf.objects)
		}
	})
}

func TestRowsThatDifferFromTheSnapshotAreNeverASuccess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(good(3))
		_, err := b.run(t.Context(), delivery.Delivery{Number: 1})
		if f := export.AsFault(err); f.Code != codes.DumpIncomplete || !strings.Contains(f.Message, `in 1 tables: "s.t" has 2 rows in the dump and 3 in the snapshot`) {
			t.Errorf("fault is %v", err)
		}
		if len(b.shelf.objects) != 0 {
			t.Errorf("stored %q", b.shelf.objects)
		}
		b.ledger.claims = []export.Claim{{Verdict: export.Granted, Token: export.Token{Attempt: 3}}}
		out, err := b.run(t.Context(), delivery.Delivery{Number: 3, Last: true})
		if err != nil || out.State != export.Failed || out.Code != codes.DumpIncomplete || out.Attempt != 3 {
			t.Errorf("third failure gave %+v, %v", out, err)
		}
	})
}

func TestAnUnreachableLedgerIsWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(good(2))
		b.ledger.claims = append(make([]export.Claim, 20), export.Claim{Verdict: export.Granted})
		b.ledger.finish = []error{export.ErrLedgerUnavailable, export.ErrLedgerUnavailable, nil}
		b.ledger.renewals = []error{export.ErrLedgerUnavailable}
		out, err := b.run(t.Context(), delivery.Delivery{Number: 1})
		if err != nil || out.State != export.Completed {
			t.Errorf("outcome %+v, %v", out, err)
		}
		if b.ledger.asked != 21 {
			t.Errorf("asked %d times, want 21", b.ledger.asked)
		}
	})
}

func TestStandingByWhileAnotherAttemptHoldsTheLease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(good(2))
		b.ledger.claims = []export.Claim{
			{Verdict: export.Leased, Wait: 20 * time.Second}, {Verdict: export.Leased},
			{Verdict: export.Ended, Outcome: export.Outcome{State: export.Failed, Code: codes.WorkerLost}},
		}
		out, err := b.run(t.Context(), delivery.Delivery{Number: 2})
		if err != nil || out.Code != codes.WorkerLost || b.ledger.asked != 3 {
			t.Errorf("outcome %+v, %v after %d claims", out, err, b.ledger.asked)
		}
	})
}

// stuck is a dump that returns nothing until its context ends.
type stuck struct{ ctx context.Context }

func (s stuck) Read([]byte) (int, error) {
	<-s.ctx.Done()
	return 0, context.Cause(s.ctx)
}

func TestASupersededAttemptIsKilledAndCleansUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &dump{}
		b := newBench(func(ctx context.Context) (export.Dump, error) {
			d.Reader = stuck{ctx}
			return d, nil
		})
		b.ledger.renewals = []error{nil, nil, export.ErrSuperseded}
		begun := time.Now()
		_, err := b.run(t.Context(), delivery.Delivery{Number: 1})
		if !errors.Is(err, export.ErrSuperseded) {
			t.Errorf("err = %v, want ErrSuperseded", err)
		}
		if took := time.Since(begun); took != 30*time.Second { // the third renewal, each a third of the lease
			t.Errorf("noticed after %s", took)
		}
		if !d.closed || len(b.shelf.deleted) != 1 || b.shelf.deleted[0] != "p/r.1.sql" || len(b.ledger.endings) != 0 {
			t.Errorf("closed %t, deleted %q, endings %v", d.closed, b.shelf.deleted, b.ledger.endings)
		}
	})
}

func TestACommitThatComesTooLateCleansUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(good(2))
		b.ledger.finish = []error{export.ErrSuperseded}
		_, err := b.run(t.Context(), delivery.Delivery{Number: 1})
		if !errors.Is(err, export.ErrSuperseded) || len(b.shelf.objects) != 0 || len(b.shelf.deleted) != 1 {
			t.Errorf("err = %v, objects %q, deleted %q", err, b.shelf.objects, b.shelf.deleted)
		}
	})
}

func TestAWorkerToldToStopReleasesItsAttempt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(func(ctx context.Context) (export.Dump, error) { return &dump{Reader: stuck{ctx}}, nil })
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(errors.New("draining")) })
		_, err := b.run(ctx, delivery.Delivery{Number: 1})
		if f := export.AsFault(err); f.Code != codes.Interrupted {
			t.Errorf("err = %v, want interrupted", err)
		}
		if len(b.ledger.endings) != 1 || b.ledger.endings[0].Retry == nil || b.ledger.endings[0].Retry.Code != codes.Interrupted {
			t.Errorf("endings %+v", b.ledger.endings)
		}
	})
}

func TestAPanicIsAFailure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(func(context.Context) (export.Dump, error) { panic("canary") })
		_, err := b.run(t.Context(), delivery.Delivery{Number: 1})
		if f := export.AsFault(err); f.Code != codes.InternalError || strings.Contains(f.Message, "canary") {
			t.Errorf("err = %v", err)
		}
	})
}

func TestARefusalExecutesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(func(context.Context) (export.Dump, error) {
			t.Error("a dump was opened")
			return nil, errors.New("opened")
		})
		b.req.Refusal = &export.Fault{Code: codes.InvalidRequest, Message: "no"}
		out, err := b.run(t.Context(), delivery.Delivery{Number: 1})
		if err != nil || out.State != export.Failed || out.Code != codes.InvalidRequest || !out.Permanent || out.Payload != nil {
			t.Errorf("outcome %+v, %v", out, err)
		}
	})
}
