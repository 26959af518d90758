package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/pgcourier/pgcourier/events"
)

const (
	tenantTables = 10
	nameLoop     = "a loop of pg_dump, one after another"
	nameTwo      = "a loop of pg_dump, two at a time"
	oursGrouped  = "pgcourier, grouped"
	oursAlone    = "pgcourier, each by itself"
	oursIdle     = "pgcourier, grouped, idle tenants beside them"
)

func tenantSchema(n int) string { return fmt.Sprintf("tenant_%05d", n) }

// tenantSQL returns the statements for one tenant. Every value contains the tenant's name, so that
// a row in the wrong export is detected.
func tenantSQL(n int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "CREATE SCHEMA %s; SET search_path = %[1]s;", tenantSchema(n))
	for t := range tenantTables {
		fmt.Fprintf(&b, "CREATE TABLE x%d (id serial PRIMARY KEY, a text, b int, c timestamptz DEFAULT now()); CREATE INDEX ON x%[1]d (b); INSERT INTO x%[1]d (a, b) SELECT '%s row ' || n, n FROM generate_series(1, 20) AS n;", t, tenantSchema(n))
	}
	return b.String()
}

// manyTenants requests exports of all tenants of a database at once.
func manyTenants(ctx context.Context, l *lab) (result, error) {
	idle := 2 * l.tenants
	if err := l.loading(ctx, func() error { return l.loadTenants(ctx, idle) }); err != nil {
		return result{}, err
	}
	p := &tenantPart{lab: l, reference: map[int][]byte{}}
	var err error
	if p.kept, err = l.folder("artifacts"); err != nil {
		return result{}, err
	}
	// A part of the tenants in each round is enough for variants with the same cost for each tenant.
	fifth, few := (l.tenants+l.rounds-1)/l.rounds, max(l.tenants/20, 1)
	variants := []variant{
		{name: oursGrouped, run: func(ctx context.Context) (trial, error) { return p.ours(ctx, "near", l.tenants) }},
		{name: nameLoop, run: func(ctx context.Context) (trial, error) { return p.loop(ctx, fifth) }},
		{name: nameTwo, run: func(ctx context.Context) (trial, error) { return p.two(ctx, few) }},
		{name: oursAlone, run: func(ctx context.Context) (trial, error) { return p.ours(ctx, "near", few, "GROUP_MAX=1") }},
		{name: oursIdle, run: func(ctx context.Context) (trial, error) { return p.ours(ctx, "far", l.tenants) }},
	}
	found, err := l.interleave(ctx, "tenants", variants)
	if err != nil {
		return result{}, err
	}
	return p.report(ctx, variants, found, fifth, few, idle)
}

// loadTenants creates a database with the tenants, and one with the same and idle ones.
func (l *lab) loadTenants(ctx context.Context, idle int) error {
	l.tell("loading %d tenants, and %d idle ones into a second database", l.tenants, idle)
	load := func(database string, from, to int) error {
		all := []string{"SET synchronous_commit = off"}
		for n := from; n < to; n++ {
			all = append(all, tenantSQL(n))
		}
		return l.execute(ctx, database, append(all, "RESET search_path", "VACUUM (ANALYZE)")...)
	}
	if err := l.execute(ctx, "postgres", "CREATE DATABASE tenants"); err != nil {
		return err
	}
	if err := load("tenants", 0, l.tenants); err != nil {
		return err
	}
	if err := l.execute(ctx, "postgres", "CREATE DATABASE tenants_and_idle TEMPLATE tenants"); err != nil {
		return err
	}
	if err := load("tenants_and_idle", l.tenants, l.tenants+idle); err != nil {
		return err
	}
	for kind, database := range map[string]string{"near": "tenants", "far": "tenants_and_idle"} {
		projects := map[string]string{}
		for n := range l.tenants {
			projects[fmt.Sprintf("%s-%d", kind, n)] = tenantSchema(n)
		}
		if err := l.enrol(ctx, database, projects); err != nil {
			return err
		}
	}
	return nil
}

// tenantPart keeps what the comparison of contents needs.
type tenantPart struct {
	*lab
	kept     string // folder of all artifacts of ours
	next     int    // the next tenant of the loop
	nextFew  int
	serial   int
	exported []exported

	mu        sync.Mutex
	reference map[int][]byte // by tenant: its single dump
}

// exported is one of our artifacts.
type exported struct {
	tenant int
	file   string
}

// scaled scales the time of some tenants to all.
func (p *tenantPart) scaled(t trial, of int) trial {
	by := float64(p.tenants) / float64(of)
	t.Wall, t.CPU, t.Server = t.Wall*by, t.CPU*by, t.Server*by
	return t
}

// single dumps one tenant into memory with the bare pg_dump.
func (p *tenantPart) single(ctx context.Context, n int) error {
	file := filepath.Join(p.kept, fmt.Sprintf("single-%d.sql", n))
	_, wait, err := p.pipeline(ctx, "tenants", file, p.dump(tenantSchema(n)))
	if err != nil {
		return err
	}
	if _, err = wait(); err != nil {
		return err
	}
	b, err := os.ReadFile(file) //nolint:gosec // in the lab's folder
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reference[n] = b
	return os.Remove(file)
}

// loop dumps the next tenants one by one. Over all rounds each tenant is dumped once.
func (p *tenantPart) loop(ctx context.Context, n int) (trial, error) {
	t, err := p.observed(func() []int { return nil }, p.kept+"/none", p.kept, func() error {
		for range n {
			if err := p.single(ctx, p.next%p.tenants); err != nil {
				return err
			}
			p.next++
		}
		return nil
	})
	return p.scaled(t, n), err
}

func (p *tenantPart) two(ctx context.Context, n int) (trial, error) {
	t, err := p.observed(func() []int { return nil }, p.kept+"/none", p.kept, func() error {
		return spawn(n, 2, func() error {
			p.mu.Lock()
			p.nextFew++
			tenant := p.nextFew % p.tenants
			p.mu.Unlock()
			return p.single(ctx, tenant)
		})
	})
	return p.scaled(t, n), err
}

// spawn calls f n times, so many at a time.
func spawn(n, atATime int, f func() error) error {
	turns := make(chan struct{}, n)
	for range n {
		turns <- struct{}{}
	}
	close(turns)
	errs := make([]error, atATime)
	var all sync.WaitGroup
	for i := range atATime {
		all.Go(func() {
			for range turns {
				if err := f(); err != nil {
					errs[i] = err
					return
				}
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// ours requests the first n tenants at once from a fresh worker, and keeps the artifacts.
func (p *tenantPart) ours(ctx context.Context, kind string, n int, settings ...string) (t trial, err error) {
	w, err := p.startWorker(ctx, settings...)
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	requests := make([]events.Requested, n)
	for i := range requests {
		requests[i] = events.Requested{ProjectID: fmt.Sprintf("%s-%d", kind, i)}
	}
	var done []*events.Completed
	var took time.Duration
	t, err = p.observed(func() []int { return []int{w.pid()} }, w.tmp, w.storage, func() error {
		done, took, err = w.askAll(ctx, requests)
		return err
	})
	if err != nil {
		return t, err
	}
	t.Wall = took.Seconds()
	for _, c := range done {
		file, err := w.file(c)
		if err != nil {
			return t, err
		}
		e := exported{file: filepath.Join(p.kept, fmt.Sprint("ours-", p.serial))}
		p.serial++
		if _, err := fmt.Sscanf(c.ProjectID, kind+"-%d", &e.tenant); err != nil {
			return t, err
		}
		if err := os.Rename(file, e.file); err != nil {
			return t, err
		}
		p.exported = append(p.exported, e)
	}
	return p.scaled(t, n), nil
}

func (p *tenantPart) report(ctx context.Context, variants []variant, found map[string][]trial, fifth, few, idle int) (result, error) {
	equal, different, foreign, err := p.compare(ctx)
	if err != nil {
		return result{}, err
	}
	r := result{Series: found, Scale: fmt.Sprintf("%d tenants of %d tables, %d rounds.", p.tenants, tenantTables, p.rounds)}
	r.about = []string{fmt.Sprintf("All tenants of one database are asked for at once, of one worker with its default settings; the time runs from the first publish to the last "+
		"outcome. The loops are bare pg_dumps to files, as people run them. What costs the same for each tenant is measured on some of them, others in each round, and "+
		"scaled to %d: the loop on %d a round (over all rounds each tenant once), two at a time and each by itself on %d. The second database holds %d idle tenants more. "+
		"Memory is the worker's and what it started.", p.tenants, fifth, few, idle)}
	t := table{head: []string{"all tenants", "seconds", "to the loop", "of the server's processor, s", "memory, MiB", "temporary, MiB"}}
	for _, v := range variants {
		trials := found[v.name]
		if len(trials) == 0 {
			continue
		}
		memory := "–"
		if trials[0].Memory > 0 {
			memory = fmt.Sprintf("%s + %.0f", over(pick(trials, memoryOf)).text(0), over(pick(trials, childrenOf)).Median)
		}
		t.add(v.name, over(pick(trials, wallOf)).text(1), ratio(pick(trials, wallOf), pick(found[nameLoop], wallOf)).text(3),
			fmt.Sprintf("%.1f", over(pick(trials, serverOf)).Median), memory, fmt.Sprintf("%.0f", over(pick(trials, spooledOf)).Max))
	}
	r.tables = []table{t}
	r.notes = append(r.notes, fmt.Sprintf("Every artifact of ours was compared with its tenant's single dump, byte by byte but for the restrict keys: %d are equal, %d differ; %d mentions of another tenant.", equal, different, foreign))
	one := func(v int) stat { return stat{Median: float64(v), Min: float64(v), Max: float64(v), Rounds: 1} }
	r.Figures = []figure{
		{Name: "loop_to_grouped", Text: "one pg_dump each to ours, grouped", Value: ratio(pick(found[nameLoop], wallOf), pick(found[oursGrouped], wallOf)), Kind: atLeast, Limit: 10},
		{Name: "two_to_grouped", Text: "two pg_dumps at a time to ours, grouped", Value: ratio(pick(found[nameTwo], wallOf), pick(found[oursGrouped], wallOf))},
		{Name: "idle_growth", Text: fmt.Sprintf("with %d idle tenants to without", idle), Value: ratio(pick(found[oursIdle], wallOf), pick(found[oursGrouped], wallOf)), Kind: below, Limit: 1.5},
		{Name: "different", Text: "artifacts that differ from the single dump", Value: one(different), Kind: atMost, Limit: 0},
		{Name: "foreign", Text: "mentions of other tenants", Value: one(foreign), Kind: atMost, Limit: 0},
		{Name: "equal", Text: "artifacts equal to the single dump", Value: one(equal)},
	}
	for i := range r.Figures {
		r.Figures[i] = r.Figures[i].judged()
	}
	return r, errors.Join(p.drop(ctx, "tenants"), p.drop(ctx, "tenants_and_idle"), os.RemoveAll(p.kept))
}
