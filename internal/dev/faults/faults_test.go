package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
)

// A short selection of what `make faults` runs in full, and a check that the account sees
// each way in which a promise can be broken.
func TestFaults(t *testing.T) {
	o := options{requests: 8, ackWait: 2 * time.Second, log: slog.New(slog.DiscardHandler)}
	l, err := openLab(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.close(); err != nil {
			t.Error(err)
		}
	})
	t.Run("the account sees each breach", func(t *testing.T) { breaches(t, l) })
	selected, err := choose([]string{"stop-mid-stream", "commit-reply-reset", "broker-store-wiped"})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range selected {
		t.Run(f.name, func(t *testing.T) {
			r := l.runOne(t.Context(), f, o.requests)
			if len(r.Violations) > 0 || r.Missing != "" || r.Completed != o.requests {
				var table bytes.Buffer
				report{}.line(&table, r)
				t.Errorf("%s", table.String())
			}
		})
	}
	t.Run("several workers", func(t *testing.T) { severalWorkers(t, l) })
}

// Two workers on a broker of three nodes; `make scale` runs more of them.
func severalWorkers(t *testing.T, l *lab) {
	f, err := choose([]string{"platform"})
	if err != nil {
		t.Fatal(err)
	}
	const requests = 60
	r := l.runOne(t.Context(), f[0], requests)
	if len(r.Violations) > 0 || r.Completed != requests {
		var table bytes.Buffer
		report{}.line(&table, r)
		t.Errorf("%s", table.String())
	}
	if r.Contended == 0 {
		t.Error("no project's requests were completed by two workers: the turns between workers were not tested")
	}
	t.Logf("the workers completed %v, %d projects were completed by both", r.Shares, r.Contended)
}

// breaches lets a run without a fault settle, breaks one promise after another, and asks
// for the account.
func breaches(t *testing.T, l *lab) {
	ctx := t.Context()
	f, err := choose([]string{"none"})
	if err != nil {
		t.Fatal(err)
	}
	w, err := l.openWorld(ctx, f[0], l.options.requests)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.close() })
	r := result{Attempts: map[int]int{}}
	if err := w.play(ctx, &r); err != nil || len(r.Violations) > 0 {
		t.Fatalf("before any breach: %v %v", err, r.Violations)
	}
	outcomes, err := w.outcomes(ctx)
	if err != nil {
		t.Fatal(err)
	}
	file := func(i int) string {
		_, key, _ := strings.Cut(outcomes[i].Completed.Storage[0].URI, ":")
		return filepath.Join(w.storage, key)
	}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	// Two unreadable exports: one is gone, one has another byte.
	check(os.Remove(file(0)))
	b, err := os.ReadFile(file(1))
	check(err)
	b[len(b)/2] ^= 1
	check(os.WriteFile(file(1), b, 0o600))
	// One file too many.
	check(os.WriteFile(file(2)+".new", nil, 0o600))
	// A second outcome, on the other subject, and an outcome without a request.
	second, err := events.Failed{
		ProjectID: outcomes[3].Completed.ProjectID, RequestID: outcomes[3].Completed.RequestID, Attempts: 3,
		Code: codes.WorkerLost, Message: "lost", FinishedAt: time.Now(),
	}.Encode("test")
	check(err)
	nobodys, err := events.Failed{
		ProjectID: "nobody", RequestID: "nothing", Attempts: 3, Code: codes.WorkerLost, Message: "lost", FinishedAt: time.Now(),
	}.Encode("test")
	check(err)
	for _, m := range []events.Message{second, nobodys} {
		_, err := w.broker.js.PublishMsg(ctx, &nats.Msg{Subject: m.Subject, Data: m.Body})
		check(err)
	}
	// A row that was never announced, and one that contradicts its event.
	for i, sql := range map[int]string{
		4: `UPDATE pgcourier.requests SET published_at = NULL WHERE project_id = $1 AND request_id = $2`,
		5: `UPDATE pgcourier.requests SET attempt = 2 WHERE project_id = $1 AND request_id = $2`,
	} {
		project, request := outcomes[i].IDs()
		_, err := l.ledger.Exec(ctx, sql, project, request)
		check(err)
	}
	// A request without an answer, a process and a temporary file that stay.
	check(w.publishAgain(ctx, w.jobs[0]))
	sleeper := exec.CommandContext(ctx, "sleep", "60")
	sleeper.Env = []string{"PGPORT=" + l.sourceEdge.port()}
	check(sleeper.Start())
	t.Cleanup(func() { _ = sleeper.Process.Kill(); _ = sleeper.Wait() })
	check(os.WriteFile(filepath.Join(w.dir, "tmp-0", "spool"), nil, 0o600))

	r = result{Attempts: map[int]int{}}
	check(w.account(ctx, &r))
	got := [5]int{r.Lost, r.Double, r.Unreadable, r.LeftBehind, r.Leaked}
	if want := [5]int{1, 3, 2, 2, 2}; got != want {
		t.Errorf("lost, double, unreadable, left behind, leaked are %v, want %v: %s", got, want, strings.Join(r.Violations, "\n"))
	}
	// That was on purpose: nothing of it is to be kept.
	_ = os.RemoveAll(w.dir)
}

func TestGrowthIsSeen(t *testing.T) {
	t.Parallel()
	flat, growing := make([]int64, 100), make([]int64, 100)
	for i := range flat {
		flat[i], growing[i] = 100+int64(i%7), 100+int64(i)
	}
	for name, c := range map[string]struct {
		series []int64
		grown  bool
	}{"flat": {flat, false}, "growing": {growing, true}, "too few": {flat[:5], true}} {
		s := sampled{series: map[string][]int64{"descriptors": c.series, "memory": flat}}
		var r result
		s.judge(&r)
		if (len(r.Violations) > 0) != c.grown {
			t.Errorf("%s: %q", name, r.Violations)
		}
	}
}

func TestArguments(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"-fault", "no-such-fault"}, {"-requests", "0"}, {"surplus"}, {"-no-such-flag"}, {"-scale", "2,none"}} {
		if err := run(context.Background(), args, io.Discard, io.Discard); err == nil {
			t.Errorf("%q was accepted", args)
		}
	}
	var out bytes.Buffer
	if err := run(t.Context(), []string{"-list"}, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "\n"); n != len(catalogue()) || n < 25 {
		t.Errorf("%d faults are listed of %d", n, len(catalogue()))
	}
	seen := map[string]bool{}
	for _, f := range catalogue() {
		if seen[f.name] || f.strike == nil || f.about == "" {
			t.Errorf("fault %q is there twice or lacks something", f.name)
		}
		seen[f.name] = true
	}
}
