package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pgcourier/pgcourier/events"
)

const (
	eventsDatabase = "events"
	pairs          = 20  // of a bare dump and an export, each round
	sequential     = 60  // requests to an idle worker, each round
	refusals       = 400 // bad requests, each round
)

func eventsProject(n int) string { return fmt.Sprintf("small-%d", n) }
func eventsSchema(n int) string  { return fmt.Sprintf("small_%d", n) }

// eventsPart measures requests for tiny projects: one table each.
type eventsPart struct {
	*lab
	each     int // requests of a variant a round, each of another project
	next     atomic.Int64
	figures  []figure
	overhead struct{ bare, like, ours, starts []float64 } // milliseconds
	refused  []float64                                    // a second
}

func manyEvents(ctx context.Context, l *lab) (result, error) {
	p := &eventsPart{lab: l, each: l.requests / l.rounds}
	if err := l.loading(ctx, func() error { return p.load(ctx) }); err != nil {
		return result{}, err
	}
	var variants []variant
	for _, n := range []int{1, 2, 4, 8} {
		variants = append(variants, variant{name: bareName(n), run: func(ctx context.Context) (trial, error) { return p.bare(ctx, n) }})
		concurrency := fmt.Sprintf("CONCURRENCY=%d", n)
		variants = append(variants,
			variant{name: aloneName(n), run: func(ctx context.Context) (trial, error) { return p.many(ctx, concurrency, "GROUP_MAX=1") }},
			variant{name: groupedName(n), run: func(ctx context.Context) (trial, error) { return p.many(ctx, concurrency) }})
	}
	variants = append(variants,
		variant{name: "latency", run: p.latency},
		variant{name: "refusals", run: p.refusals})
	found, err := l.interleave(ctx, "events", variants)
	if err != nil {
		return result{}, err
	}
	r := p.report(found)
	if l.wants("waiting") {
		if err := p.waiting(ctx, &r); err != nil {
			return r, err
		}
	}
	for i := range p.figures {
		p.figures[i] = p.figures[i].judged()
	}
	r.Figures = p.figures
	return r, l.drop(ctx, eventsDatabase)
}

func bareName(n int) string    { return fmt.Sprintf("a bare loop, %d at a time", n) }
func aloneName(n int) string   { return fmt.Sprintf("pgcourier, concurrency %d, each by itself", n) }
func groupedName(n int) string { return fmt.Sprintf("pgcourier, concurrency %d, grouped", n) }

func (p *eventsPart) load(ctx context.Context) error {
	p.tell("loading %d tiny projects", p.each)
	if err := p.execute(ctx, "postgres", "CREATE DATABASE "+eventsDatabase); err != nil {
		return err
	}
	projects := map[string]string{}
	all := []string{"SET synchronous_commit = off"}
	for n := range p.each {
		all = append(all, fmt.Sprintf("CREATE SCHEMA %[1]s; CREATE TABLE %[1]s.t (id int PRIMARY KEY, a text); INSERT INTO %[1]s.t VALUES (1, 'one'), (2, 'two')", eventsSchema(n)))
		projects[eventsProject(n)] = eventsSchema(n)
	}
	if err := p.execute(ctx, eventsDatabase, append(all, "VACUUM (ANALYZE)")...); err != nil {
		return err
	}
	return p.enrol(ctx, eventsDatabase, projects)
}

// another returns the number of the next project, in turns.
func (p *eventsPart) another() int { return int(p.next.Add(1)) % p.each }

// bare runs pg_dumps to /dev/null.
func (p *eventsPart) bare(ctx context.Context, atATime int) (trial, error) {
	return p.observed(func() []int { return nil }, p.dir+"/none", p.dir, func() error {
		return spawn(p.each, atATime, func() error {
			_, wait, err := p.pipeline(ctx, eventsDatabase, "", p.dump(eventsSchema(p.another())))
			if err != nil {
				return err
			}
			_, err = wait()
			return err
		})
	})
}

// many requests exports of all projects at once from a fresh worker.
func (p *eventsPart) many(ctx context.Context, settings ...string) (t trial, err error) {
	w, err := p.startWorker(ctx, settings...)
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	requests := make([]events.Requested, p.each)
	for n := range requests {
		requests[n] = events.Requested{ProjectID: eventsProject(n)}
	}
	var took time.Duration
	t, err = p.observed(func() []int { return []int{w.pid()} }, w.tmp, w.storage, func() error {
		_, took, err = w.askAll(ctx, requests)
		return err
	})
	t.Wall = took.Seconds()
	return t, err
}

func (p *eventsPart) report(found map[string][]trial) result {
	r := result{Series: found, Scale: fmt.Sprintf("%d tiny projects of one table, %d rounds.", p.each, p.rounds)}
	r.about = []string{fmt.Sprintf("Each round asks one worker for all projects at once (so %d exports of each line over all rounds), and spawns as many bare pg_dumps to /dev/null. "+
		"Exports a second, first publish to last outcome. The bare pg_dumps are run as people run them. The worker "+
		"gives its own options that save queries ("+strings.Join(asOurs, ", ")+"; the latter two because the database has none), "+
		"which the second of the bare ones to a file has too.", p.each*p.rounds)}
	rate := func(name string) stat {
		return over(pick(found[name], func(t trial) float64 { return float64(p.each) / t.Wall }))
	}
	t := table{head: []string{"at a time", "bare pg_dump", "pgcourier, each by itself", "pgcourier, grouped"}}
	for _, n := range []int{1, 2, 4, 8} {
		t.add(strconv.Itoa(n), rate(bareName(n)).text(1), rate(aloneName(n)).text(1), rate(groupedName(n)).text(1))
		for key, name := range map[string]string{"bare": bareName(n), "alone": aloneName(n), "grouped": groupedName(n)} {
			if len(found[name]) > 0 {
				p.figures = append(p.figures, figure{Name: fmt.Sprintf("rate_%s_%d", key, n), Text: name, Value: rate(name), Unit: "/s"})
			}
		}
	}
	slices.SortFunc(p.figures, func(a, b figure) int { return strings.Compare(a.Name, b.Name) })
	r.tables = []table{t}
	o := p.overhead
	if len(o.ours) > 0 {
		starts := slices.Sorted(slices.Values(o.starts))
		at := func(q float64) stat {
			return stat{Median: quantile(starts, q), Min: starts[0], Max: starts[len(starts)-1], Rounds: len(starts)}
		}
		l := table{head: []string{"an idle worker, one request after another", "milliseconds"}}
		l.add("from the publish to the start, median", fmt.Sprintf("%.1f", at(0.5).Median))
		l.add("the same, 99th percentile", fmt.Sprintf("%.1f", at(0.99).Median))
		l.add("bare pg_dump to a file, median", over(o.bare).text(1))
		l.add("the same with the worker's options, median", over(o.like).text(1))
		l.add("from the publish to the outcome, median", over(o.ours).text(1))
		r.tables = append(r.tables, l)
		p.figures = append(p.figures,
			figure{Name: "event_path", Text: "an export on an idle worker less a bare pg_dump beside it", Value: difference(o.ours, o.bare), Unit: "ms", Kind: below, Limit: 10},
			figure{Name: "event_path_like", Text: "the same, less a pg_dump with the worker's options", Value: difference(o.ours, o.like), Unit: "ms"},
			figure{Name: "start_p99", Text: fmt.Sprintf("publish to start, 99th percentile of %d", len(starts)), Value: at(0.99), Unit: "ms", Kind: below, Limit: 50},
			figure{Name: "start_p50", Text: "publish to start, median", Value: at(0.5), Unit: "ms"})
	}
	if len(p.refused) > 0 {
		p.figures = append(p.figures, figure{Name: "refused", Text: "bad requests decoded and refused", Value: over(p.refused), Unit: "/s"})
		r.notes = append(r.notes, fmt.Sprintf("Bad requests that are decoded, recorded as failed and answered: %s a second.", over(p.refused).text(0)))
	}
	return r
}
