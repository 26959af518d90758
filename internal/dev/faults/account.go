package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgcourier/pgcourier/events"
)

// result is one row of the report.
type result struct {
	Fault      string `json:"fault"`
	About      string `json:"about"`
	Requests   int    `json:"requests"`
	Completed  int    `json:"completed"`
	Failed     int    `json:"failed"`     // with a code that the fault permits
	Unexpected int    `json:"unexpected"` // failed with any other
	Lost       int    `json:"lost"`       // no outcome, or a row that is not terminal or not published
	Double     int    `json:"double"`     // more than one outcome, or an outcome that contradicts its row
	Unreadable int    `json:"unreadable"` // missing, damaged, or different from the source after a restore
	LeftBehind int    `json:"left_behind"`
	Leaked     int    `json:"leaked"`
	// Attempts counts the requests by their number of attempts.
	Attempts map[int]int `json:"attempts"`
	// Recovered is the time in seconds from the healing (or, if nothing is healed, from the fault)
	// until the last request that the fault struck had its outcome.
	Recovered float64 `json:"recovered_seconds"`
	AckWaits  float64 `json:"recovered_ack_waits"`
	Took      float64 `json:"took_seconds"`
	// Shares are the completed requests of each worker of a platform. Contended are the projects with
	// requests that more than one worker completed.
	Shares     []int    `json:"shares,omitempty"`
	Contended  int      `json:"contended,omitempty"`
	Missing    string   `json:"missing,omitempty"`
	Violations []string `json:"violations,omitempty"`
}

func (r *result) blame(format string, args ...any) {
	r.Violations = append(r.Violations, fmt.Sprintf(format, args...))
}

// entry is a request in the ledger.
type entry struct {
	Key       string     `db:"key"`
	State     string     `db:"state"`
	Attempt   int        `db:"attempt"`
	Code      *string    `db:"code"`
	Published *time.Time `db:"published_at"`
}

// account checks every request after the workers have ended.
func (w *world) account(ctx context.Context, r *result) error {
	outcomes, err := w.outcomes(ctx)
	if err != nil {
		return err
	}
	rows, err := w.lab.ledger.Query(ctx, `SELECT project_id || '/' || request_id AS key, state, attempt, code, published_at FROM pgcourier.requests`)
	if err != nil {
		return err
	}
	entries, err := pgx.CollectRows(rows, pgx.RowToStructByName[entry])
	if err != nil {
		return err
	}
	byKey, ledger := map[string][]announced{}, map[string]entry{}
	for _, o := range outcomes {
		byKey[o.key()] = append(byKey[o.key()], o)
	}
	for _, e := range entries {
		ledger[e.Key] = e
	}
	var completed []*events.Completed
	for _, j := range w.jobs {
		key := j.ProjectID + "/" + j.RequestID
		if c := w.judge(r, j, byKey[key], ledger[key]); c != nil {
			if !w.verified[key] {
				completed = append(completed, c)
			}
		}
		delete(byKey, key)
		delete(ledger, key)
	}
	for key := range byKey {
		r.Double++
		r.blame("outcome of %s, without a request", key)
	}
	for key := range ledger {
		r.Double++
		r.blame("row of %s, without a request", key)
	}
	w.recovery(r, entries)
	if w.fault.platform {
		if err := w.sharing(ctx, r); err != nil {
			return err
		}
	}
	if err := w.restoreAll(ctx, r, completed); err != nil {
		return err
	}
	return w.tidy(ctx, r)
}

// judge counts one request and returns its outcome if it completed.
func (w *world) judge(r *result, j job, outcomes []announced, e entry) *events.Completed {
	key := j.ProjectID + "/" + j.RequestID
	if len(outcomes) == 0 || e.Published == nil {
		r.Lost++
		r.blame("%s has %d outcomes; in the ledger it is %q, published %t", key, len(outcomes), e.State, e.Published != nil)
		return nil
	}
	if len(outcomes) > 1 {
		r.Double++
		r.blame("%s has %d outcomes", key, len(outcomes))
	}
	switch o := outcomes[0].Outcome; {
	case o.Completed != nil:
		r.Completed++
		r.Attempts[o.Completed.Attempt]++
		if e.State != "completed" || e.Attempt != o.Completed.Attempt || o.Completed.Metadata["number"] != j.Metadata["number"] {
			r.Double++
			r.blame("%s: the event says completed at attempt %d, the ledger %s at %d", key, o.Completed.Attempt, e.State, e.Attempt)
		}
		if w.fault.firstAttempt && o.Completed.Attempt != 1 {
			r.Unexpected++
			r.blame("%s took %d attempts, and the fault may cost none", key, o.Completed.Attempt)
		}
		return o.Completed
	default:
		f := o.Failed
		r.Attempts[f.Attempts]++
		if e.State != "failed" || e.Code == nil || *e.Code != string(f.Code) {
			r.Double++
			r.blame("%s: the event says failed with %s, the ledger %s", key, f.Code, e.State)
		}
		if slices.Contains(w.fault.permitted[j.ProjectID], f.Code) || slices.Contains(w.fault.permitted[anyProject], f.Code) {
			r.Failed++
		} else {
			r.Unexpected++
			r.blame("%s failed with %s after %d attempts: %s", key, f.Code, f.Attempts, f.Message)
		}
		return nil
	}
}

// anyProject stands for all projects in fault.permitted.
const anyProject = "*"

// recovery measures how long the requests took that the fault struck. If it struck none, recovery
// measures the time to the next outcome.
func (w *world) recovery(r *result, entries []entry) {
	if w.healedAt.IsZero() {
		return
	}
	var last, next time.Duration
	for _, e := range entries {
		if e.Published == nil {
			continue
		}
		after := e.Published.Sub(w.healedAt)
		if slices.Contains(w.struck, e.Key) {
			last = max(last, after)
		}
		if after > 0 && (next == 0 || after < next) {
			next = after
		}
	}
	if len(w.struck) == 0 {
		last = next
	}
	r.Recovered = last.Seconds()
	r.AckWaits = last.Seconds() / w.lab.options.ackWait.Seconds()
}

// tidy counts leftovers.
func (w *world) tidy(ctx context.Context, r *result) error {
	left, err := w.queued(ctx)
	if err != nil {
		return err
	}
	if left > 0 {
		r.LeftBehind += left
		r.blame("%d messages are still in the queue", left)
	}
	extra, err := w.extraFiles(ctx)
	if err != nil {
		return err
	}
	if len(extra) > 0 {
		r.LeftBehind += len(extra)
		r.blame("storage also holds %s", strings.Join(extra, ", "))
	}
	// A server may take a moment to notice that its client is gone.
	var found []string
	late := until(ctx, 5*time.Second, "nothing to be left", func(ctx context.Context) (bool, error) {
		now, err := w.leaks(ctx)
		if err == nil {
			found = now
		}
		return err == nil && len(now) == 0, err
	})
	if late != nil {
		r.Leaked += max(len(found), 1)
		r.blame("leaked: %s (%v)", strings.Join(found, ", "), late)
	}
	return nil
}

// pooled counts the workers' sessions on a server, except those that are kept for the next dump:
// their number is bounded, and they hold nothing.
type pooled struct{ *pgxpool.Pool }

func (p pooled) sessions(ctx context.Context) (n int, err error) {
	err = p.QueryRow(ctx, `SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'pgcourier%' AND application_name <> 'pgcourier idle'`).Scan(&n)
	return n, err
}
