package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/pgcluster/contents"
)

// A platform is many small projects. Any number of workers share a broker of three nodes. Workers,
// gateway and administrator are the broker's own users with limited rights, and reach it without a
// proxy.

const (
	usersFile = "users.conf"
	// The contents of one in so many projects are recorded, and their exports are restored and
	// compared. All other exports are unpacked to their end and compared with event and manifest.
	platformTruth = 6
	// The setup and the workers have the same settings, because the workers check the streams.
	maxWaiting = "PGCOURIER_MAX_WAITING_PER_PROJECT=10000"
)

func platformProject(i int) string { return fmt.Sprintf("platform-%04d", i) }

// platformLoad requests two exports, one after the other, of each of the first projects, so that
// two workers meet at them, and then one of each of the others.
func platformLoad(prefix string, n int) []job {
	formats := []events.Format{events.FormatSQL, events.FormatCustom}
	compressions := []events.Compression{events.CompressionGzip, events.CompressionZstd}
	twice := n / 10
	jobs := make([]job, n)
	for i := range jobs {
		project := i - twice
		if i < 2*twice {
			project = i / 2
		}
		jobs[i] = job{Requested: events.Requested{
			ProjectID: platformProject(project), RequestID: fmt.Sprintf("%s-%d", prefix, i),
			Format: formats[i%3/2], Compression: compressions[i%2], Metadata: map[string]string{"number": strconv.Itoa(i)},
		}}
	}
	return jobs
}

// loadPlatform makes the projects that jobs are about, unless they are there.
func (l *lab) loadPlatform(ctx context.Context, jobs []job) error {
	seed, err := pgx.Connect(ctx, l.control.URL(seedDatabase))
	if err != nil {
		return err
	}
	defer func() { _ = seed.Close(context.WithoutCancel(ctx)) }()
	source, err := pgx.Connect(ctx, l.source.URL(sourceDatabase))
	if err != nil {
		return err
	}
	defer func() { _ = source.Close(context.WithoutCancel(ctx)) }()
	dsn := through(l.source.URL(sourceDatabase), l.sourceEdge)
	for i, last := 0, ""; i < len(jobs); i++ {
		project := jobs[i].ProjectID
		if project == last {
			continue
		}
		last = project
		schema := "tenant_" + project
		made, err := seed.Exec(ctx, `INSERT INTO control_plane.projects VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`, project, schema, dsn)
		if err != nil {
			return err
		}
		if made.RowsAffected() == 0 {
			continue
		}
		if _, err := source.Exec(ctx, fmt.Sprintf(`CREATE SCHEMA %[1]q;
			CREATE TABLE %[1]q.customers (id bigint PRIMARY KEY, name text NOT NULL, profile jsonb);
			CREATE TABLE %[1]q.orders (id bigint PRIMARY KEY, customer bigint NOT NULL REFERENCES %[1]q.customers, note text);
			INSERT INTO %[1]q.customers SELECT n, '%[1]s ' || n, jsonb_build_object('hash', md5(n::text)) FROM generate_series(1, 20) AS n;
			INSERT INTO %[1]q.orders SELECT n, 1 + n %% 20, md5(n::text) FROM generate_series(1, 100) AS n`, schema)); err != nil {
			return fmt.Errorf("load %s: %w", project, err)
		}
		if i%platformTruth == 0 {
			if l.truth[project], err = contents.Read(ctx, source, []string{schema}); err != nil {
				return err
			}
		}
	}
	return nil
}

// openPlatformBroker sets up three nodes as in docs/broker.md: keys and users, then the streams by
// the administrator.
func (w *world) openPlatformBroker(ctx context.Context) (err error) {
	keys := filepath.Join(w.dir, "keys")
	users, err := w.pgcourierSays(ctx, "broker", "config", "--nats-keys", keys)
	if err != nil {
		return err
	}
	if err = os.WriteFile(filepath.Join(w.dir, usersFile), users, 0o600); err != nil {
		return err
	}
	if err = w.giveWorkerKey(keys); err != nil {
		return err
	}
	if w.broker, err = startBroker(ctx, w.dir, w.lab.natsd, 3, keys); err != nil {
		return err
	}
	// JetStream answers before all nodes have joined; until then it places no third copy.
	err = until(ctx, time.Minute, "three copies of each stream", func(ctx context.Context) (bool, error) {
		_, err := w.pgcourierSays(ctx, "broker", "setup", "--nats-keys", keys, "--nats-url", w.broker.addresses(""), "--nats-replicas", "3")
		return err == nil, err
	})
	if err != nil {
		return err
	}
	if w.gateway, err = w.broker.login("gateway"); err != nil {
		return err
	}
	w.client, err = events.NewClient(w.gateway)
	return err
}

// giveWorkerKey copies the worker's key, because a worker's machine has no other one.
func (w *world) giveWorkerKey(keys string) error {
	key, err := os.ReadFile(filepath.Join(keys, "worker.nk")) //nolint:gosec // made by pgcourier
	if err != nil {
		return err
	}
	if err = os.Mkdir(w.workerKeys(), 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(w.workerKeys(), "worker.nk"), key, 0o600) //nolint:gosec // in the world's own folder
}

func (w *world) workerKeys() string { return filepath.Join(w.dir, "worker-keys") }

// pgcourierSays runs a command and returns its output.
func (w *world) pgcourierSays(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, w.lab.pgcourier, args...) //nolint:gosec // our own binary
	cmd.Dir = w.dir
	cmd.Env = []string{maxWaiting, "PGCOURIER_ACK_WAIT=" + w.lab.options.ackWait.String()}
	out, err := cmd.Output()
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		err = fmt.Errorf("pgcourier %s: %w: %s", strings.Join(args[:2], " "), err, e.Stderr)
	}
	return out, err
}

// sharing checks that every worker did some of the work, and that each project had one export at a
// time over all workers.
func (w *world) sharing(ctx context.Context, r *result) error {
	rows, err := w.lab.ledger.Query(ctx, `SELECT project_id, worker FROM pgcourier.attempts WHERE result = 'completed'`)
	if err != nil {
		return err
	}
	r.Shares = make([]int, len(w.crew))
	by := map[string][]int{}
	var project, name string
	_, err = pgx.ForEachRow(rows, []any{&project, &name}, func() error {
		for i, k := range w.crew {
			if slices.Contains(k.names, name) {
				r.Shares[i]++
				by[project] = append(by[project], i)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, workers := range by {
		slices.Sort(workers)
		if len(slices.Compact(workers)) > 1 {
			r.Contended++
		}
	}
	if idle := slices.Index(r.Shares, 0); idle >= 0 && !w.fault.grouped {
		r.blame("worker %d of %d did nothing: %v", idle, len(w.crew), r.Shares)
	}
	together, err := w.count(ctx, `SELECT count(*) FROM pgcourier.attempts a JOIN pgcourier.attempts b
		ON b.project_id = a.project_id AND b.request_id > a.request_id
		WHERE a.result = 'completed' AND b.result = 'completed' AND a.started_at < b.ended_at AND b.started_at < a.ended_at`)
	if err == nil && together > 0 {
		r.Double += together
		r.blame("%d times two exports of one project ran at once", together)
	}
	return err
}

// platformFaults are the faults of a platform.
func platformFaults() []fault {
	return []fault{{
		name: "platform", about: "many projects; a node of the broker and a worker killed and started again", platform: true,
		strike: func(ctx context.Context, w *world) error {
			if err := w.finished(ctx, len(w.jobs)/6); err != nil {
				return err
			}
			n, err := w.broker.leader(ctx, events.StreamRequests)
			if err != nil {
				return err
			}
			n.process.kill()
			if err := w.broker.start(ctx, n); err != nil {
				return err
			}
			if err := w.finished(ctx, len(w.jobs)/3); err != nil {
				return err
			}
			if err := w.mark(ctx); err != nil {
				return err
			}
			k := w.workers[len(w.workers)-1]
			k.process.kill()
			w.heal()
			return k.restart(ctx)
		},
	}}
}
