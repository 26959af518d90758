package console_test

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/api/access"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/retention"
)

var large = flag.Bool("large", false, "measure each page with 50,000 exports of 5,000 projects in the ledger")

// fill makes 50,000 exports of 5,000 projects, 5,000 of them of acme and 500 of them failed, 5,000 restores, and what
// belongs to them.
func (b *bench) fill() {
	b.t.Helper()
	b.completed("acme", "model")
	b.failed(events.Requested{ProjectID: "acme", RequestID: "broken", RequestedBy: "ann"}, export.Fault{Code: codes.LockTimeout, Message: "waited too long"})
	b.endedRestore(events.RestoreRequested{ProjectID: "acme", RestoreID: "undo", From: events.RestoreFrom{RequestID: "model"}}, restoredJSON("r"), export.Fault{})
	for _, sql := range []string{
		`CREATE TABLE made AS SELECT n, CASE WHEN n <= 5000 THEN 'acme' ELSE 'p' || n % 4999 END AS project_id, 'r' || n AS request_id, n * interval '7 minutes' AS ago
			FROM generate_series(1, 50000) n`,
		`INSERT INTO pgcourier.requests SELECT (json_populate_record(r, json_build_object('project_id', m.project_id, 'request_id', m.request_id,
				'created_at', r.created_at - ago, 'touched_at', r.touched_at - ago, 'started_at', r.started_at - ago, 'finished_at', r.finished_at - ago))).*
			FROM made m JOIN pgcourier.requests r ON r.project_id = 'acme' AND r.request_id = CASE WHEN m.n % 100 = 1 THEN 'broken' ELSE 'model' END`,
		`INSERT INTO pgcourier.attempts SELECT (json_populate_record(a, json_build_object('project_id', m.project_id, 'request_id', m.request_id,
				'object', m.project_id || '/' || m.request_id || '.1.sql.gz', 'nonce', m.request_id, 'started_at', a.started_at - ago, 'ended_at', a.ended_at - ago))).*
			FROM made m JOIN pgcourier.attempts a ON a.project_id = 'acme' AND a.request_id = CASE WHEN m.n % 100 = 1 THEN 'broken' ELSE 'model' END`,
		`INSERT INTO pgcourier.verifications (project_id, request_id, damaged) SELECT project_id, request_id, false FROM made WHERE n % 100 <> 1 AND n % 2 = 0`,
		`INSERT INTO pgcourier.expiries (project_id, request_id, reason, warned_at) SELECT project_id, request_id, 'older than 400d', now() FROM made WHERE n % 100 = 50`,
		`INSERT INTO pgcourier.restores SELECT (json_populate_record(r, json_build_object('project_id', m.project_id, 'request_id', m.request_id,
				'created_at', r.created_at - ago, 'queue_sequence', n))).* FROM made m, pgcourier.restores r WHERE r.request_id = 'undo' AND m.n % 10 = 0`,
		`INSERT INTO pgcourier.api_calls (subject, address, action, project_id, object) SELECT 'token:x', '192.0.2.1', 'create-export', project_id, request_id FROM made`,
		`INSERT INTO pgcourier.verification_orders (project_id, request_id, ordered_by, done_at) SELECT project_id, request_id, 'token:x', now() FROM made WHERE n % 100 = 50`,
		`INSERT INTO pgcourier.api_tokens (token_id, hash, project_id, scopes, label, created_by)
			SELECT 'token' || n, sha256(n::text::bytea), project_id, '{read}', '', 'x' FROM made WHERE n % 100 = 50`,
		`ANALYZE`,
	} {
		b.exec(sql)
	}
}

// policies are the rules of every project.
type policies struct{}

func (policies) Policy(context.Context, string) (retention.Rules, bool, error) {
	return retention.Rules{Policy: retention.Policy{Daily: 365, MaxAge: 400 * 24 * time.Hour}, From: retention.FromDefault}, true, nil
}

// Each page is made within 100 ms with many exports, the plan of a project with 5,000 of them within 200 ms, and has less than 60 KB with its assets. The quickest of nine
// counts: the others waited for other processes.
func TestEachPageIsQuickWithManyExports(t *testing.T) {
	if !*large {
		t.Skip("it runs with -large")
	}
	var b *bench
	b = setup(t, func(c *settings) {
		c.Examine, c.Notices = findings, noticesOf("550")
		c.Plan = func(ctx context.Context, project string) (retention.Report, error) {
			pruner := retention.NewPruner(retention.Config{Records: b.ledger, Policies: policies{}, Notice: time.Hour})
			return pruner.Plan(ctx, project, time.Now())
		}
	})
	b.fill()
	v := b.visit("*", access.Admin)
	v.post("health", url.Values{})
	assets := 0
	for _, name := range []string{"style.css", "script.js", "icon.svg"} {
		assets += v.get("assets/x/" + name).size
	}
	var table strings.Builder
	for _, path := range append(slices.DeleteFunc(slices.Clone(everyPage), func(p string) bool { return p == "login" }),
		"exports?state=failed", "exports?code=lock_timeout", "exports?format=tar", "exports?text=r4999", "exports?project=acme", "exports?project=acme&state=completed", "exports/acme/r4200",
		"replay?match=1&code=lock_timeout", "schedules?project=acme", "retention?project=acme", "retention?from=2026-06-01", "tokens/new", "exports/acme/r4200/verify",
		"exports/acme/r4200/restore", "restores?project=acme", "restores/acme/r4200", "exports/acme/model") {
		var all []time.Duration
		size := 0
		for range 9 {
			begun := time.Now()
			got := v.get(path)
			all = append(all, time.Since(begun))
			size = got.size
			if got.status != http.StatusOK {
				t.Fatalf("%q: %d %s", path, got.status, got.body)
			}
		}
		slices.Sort(all)
		fmt.Fprintf(&table, "%6.1f ms, median %6.1f ms, %6d bytes  /console/%s\n", all[0].Seconds()*1000, all[4].Seconds()*1000, size, path)
		if size > 60_000-assets {
			t.Errorf("/console/%s has %d bytes", path, size)
		}
		if all[0] > 100*time.Millisecond {
			t.Errorf("/console/%s takes %v", path, all[0])
		}
	}
	t.Log("the quickest of nine with 50,000 exports of 5,000 projects:\n" + table.String())
}
