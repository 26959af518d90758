package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sys/unix"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
)

// fault is one fault and its permitted effects.
type fault struct {
	name  string
	about string

	workers      int      // at the start; default: 2
	cluster      bool     // a broker of three nodes instead of one
	platform     bool     // many small projects, and the broker's own users, see platform.go
	grouped      bool     // its workers dump small projects together
	failpoints   string   // of the first worker
	settings     []string // of all workers, over the harness's own
	unprivileged bool     // workers run as nobody, so that permissions mean something
	tmpfs        string   // the storage is a tmpfs of this size
	embedded     bool     // the broker is the first worker's own
	dataTmpfs    string   // the first worker's DATA_DIR is a tmpfs of this size
	shifted      bool     // the first worker's wall clock is an hour ahead
	// unpublished: strike publishes the load.
	unpublished bool
	// firstAttempt: the fault must cost no request an attempt.
	firstAttempt bool
	// permitted are the codes with which a project's requests may fail; all others must
	// complete.
	permitted map[string][]codes.Code
	// prepare, if set, makes what the workers need before they start.
	prepare func(ctx context.Context, w *world) error
	// strike causes the fault at its moment, heals it and calls world.heal.
	strike func(ctx context.Context, w *world) error
}

// missingError says that this machine does not support a fault.
type missingError struct{ what string }

func (e *missingError) Error() string { return "not run: needs " + e.what }

// world holds one fault's own broker, storage and workers.
type world struct {
	lab     *lab
	fault   fault
	dir     string
	storage string
	broker  *broker
	gateway *nats.Conn // with which client publishes; nil: the broker's own connection
	workers []*worker
	crew    []*worker // those of workers that were closed
	jobs    []job
	client  *events.Client
	network *network // the first worker's; nil: the harness's own
	post    *post    // where notices go; nil: nowhere

	settings []string // of all workers, over the fault's

	struck   []string // requests that were under way when it struck
	healedAt time.Time
	verified map[string]bool // exports that were restored already
	undo     []func() error
}

func (l *lab) openWorld(ctx context.Context, f fault, n int) (w *world, err error) {
	w = &world{lab: l, fault: f}
	if f.platform {
		w.jobs = platformLoad(f.name, n)
		if err = l.loadPlatform(ctx, w.jobs); err != nil {
			return nil, err
		}
	} else {
		w.jobs = load(f.name, n)
	}
	if w.dir, err = l.folder(f.name); err != nil {
		return nil, err
	}
	w.storage = filepath.Join(w.dir, "storage")
	if err = w.makeStorage(); err != nil {
		return w, err
	}
	if err = l.freshControlPlane(ctx); err != nil {
		return w, err
	}
	if err = w.openBroker(ctx); err != nil {
		return w, err
	}
	if f.prepare != nil {
		if err = f.prepare(ctx, w); err != nil {
			return w, err
		}
	}
	for n := range cmp.Or(f.workers, 2) {
		failpoints := ""
		if n == 0 {
			failpoints = f.failpoints
		}
		k, err := w.newWorker(n)
		if err != nil {
			return w, err
		}
		w.workers = append(w.workers, k)
		if n == 0 && f.shifted {
			if err := l.buildShifted(ctx); err != nil {
				return w, err
			}
			k.binary = l.shifted
		}
		if n == 0 && f.dataTmpfs != "" {
			if err := w.mountTmpfs(k.data, f.dataTmpfs); err != nil {
				return w, err
			}
		}
		if err := k.start(ctx, failpoints); err != nil {
			return w, err
		}
		if n == 0 && f.embedded {
			if err := w.joinEmbedded(ctx); err != nil {
				return w, err
			}
		}
	}
	return w, nil
}

func (w *world) openBroker(ctx context.Context) (err error) {
	if w.fault.platform {
		return w.openPlatformBroker(ctx)
	}
	if w.fault.embedded {
		return w.placeEmbedded()
	}
	nodes := 1
	if w.fault.cluster {
		nodes = 3
	}
	if w.broker, err = startBroker(ctx, w.dir, w.lab.natsd, nodes, ""); err != nil {
		return err
	}
	w.client, err = events.NewClient(w.broker.nc)
	return err
}

func (w *world) makeStorage() error {
	if err := os.Mkdir(w.storage, 0o700); err != nil {
		return err
	}
	if w.fault.tmpfs != "" {
		if err := w.mountTmpfs(w.storage, w.fault.tmpfs); err != nil {
			return err
		}
	}
	if w.fault.unprivileged {
		if c := nobody(); c != nil {
			return os.Chown(w.storage, int(c.Uid), int(c.Gid))
		}
	}
	return nil
}

// mountTmpfs mounts a small file system until the world is closed.
func (w *world) mountTmpfs(dir, size string) error {
	if err := unix.Mount("faults", dir, "tmpfs", 0, "mode=0700,size="+size); err != nil {
		return &missingError{fmt.Sprintf("the right to mount a tmpfs (%v)", err)}
	}
	w.undo = append(w.undo, func() error { return unix.Unmount(dir, unix.MNT_DETACH) })
	return nil
}

// closeWorkers ends the workers in an orderly way, and returns their faults.
func (w *world) closeWorkers() error {
	var errs []error
	for _, k := range w.workers {
		errs = append(errs, k.close())
	}
	w.crew, w.workers = append(w.crew, w.workers...), nil
	return errors.Join(errs...)
}

func (w *world) close() error {
	err := w.closeWorkers()
	if w.gateway != nil {
		w.gateway.Close()
	}
	if w.broker != nil {
		w.broker.stop()
	}
	for _, u := range w.undo {
		err = errors.Join(err, u())
	}
	return err
}

// publish queues jobs as gateways do: it retries until the broker has accepted each.
func (w *world) publish(ctx context.Context, jobs []job) error {
	for _, j := range jobs {
		err := until(ctx, time.Minute, "the broker to take a request", func(ctx context.Context) (bool, error) {
			err := w.publishOnce(ctx, j)
			return err == nil, err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *world) publishOnce(ctx context.Context, j job) error {
	if !j.bare {
		_, err := w.client.RequestBackup(ctx, j.Requested)
		return err
	}
	body, err := j.Canonical()
	if err != nil {
		return err
	}
	_, err = w.broker.js.Publish(ctx, events.TypeRequested, body, jetstream.WithMsgID(j.RequestID))
	return err
}

// publishAgain queues a request once more, past the broker's own deduplication.
func (w *world) publishAgain(ctx context.Context, j job) error {
	body, err := j.Canonical()
	if err != nil {
		return err
	}
	_, err = w.broker.js.PublishMsg(ctx, &nats.Msg{Subject: events.RequestSubject(j.ProjectID), Data: body})
	return err
}

// count runs a query that returns one number on the ledger.
func (w *world) count(ctx context.Context, sql string, args ...any) (n int, err error) {
	err = w.lab.ledger.QueryRow(ctx, sql, args...).Scan(&n)
	return n, err
}

// mark records the running requests: the fault strikes these.
func (w *world) mark(ctx context.Context) error {
	rows, err := w.lab.ledger.Query(ctx, `SELECT project_id || '/' || request_id FROM pgcourier.requests
		WHERE state = 'running' OR state = 'waiting' AND attempt > 0`)
	if err != nil {
		return err
	}
	w.struck, err = pgx.CollectRows(rows, pgx.RowTo[string])
	return err
}

// heal records the time from which there is no fault any more.
func (w *world) heal() { w.healedAt = time.Now() }

// dumping waits until a slow dump is in the middle of a table, and marks the running requests. It
// returns the worker of the dump.
func (w *world) dumping(ctx context.Context) (*worker, error) {
	var by string
	err := until(ctx, time.Minute, "a slow dump to be in its middle", func(ctx context.Context) (bool, error) {
		var copying int
		err := w.lab.origin.QueryRow(ctx, `SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'pgcourier dump%'
			AND state = 'active' AND query LIKE 'COPY%tenant_slow%' AND clock_timestamp() - query_start > '100 ms'`).Scan(&copying)
		if err != nil || copying == 0 {
			return false, err
		}
		err = w.lab.ledger.QueryRow(ctx, `SELECT worker FROM pgcourier.requests
			WHERE state = 'running' AND project_id = $1 ORDER BY touched_at LIMIT 1`, slowProject).Scan(&by)
		return err == nil, err
	})
	if err != nil {
		return nil, err
	}
	for _, k := range w.workers {
		if k.names[len(k.names)-1] == by {
			return k, w.mark(ctx)
		}
	}
	return nil, fmt.Errorf("no worker is %s", by)
}

// stopped waits until the first worker has stopped itself at its fail point, and marks the running
// requests.
func (w *world) stopped(ctx context.Context, point string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := w.workers[0].process.said(ctx, "failpoint "+point+": "); err != nil {
		return err
	}
	return w.mark(ctx)
}

// outcomesStored counts the outcomes in the stream.
func (w *world) outcomesStored(ctx context.Context) (int, error) {
	s, err := w.broker.js.Stream(ctx, events.StreamOutcomes)
	if err != nil {
		return 0, err
	}
	return int(min(s.CachedInfo().State.Msgs, 1<<31)), nil
}

// finished waits until at least n outcomes are stored.
func (w *world) finished(ctx context.Context, n int) error {
	return until(ctx, timeout(n), fmt.Sprintf("%d outcomes", n), func(ctx context.Context) (bool, error) {
		stored, err := w.outcomesStored(ctx)
		return stored >= n, err
	})
}

// timeout bounds n requests on a busy machine.
func timeout(n int) time.Duration { return time.Minute + time.Duration(n)*1500*time.Millisecond }

// lasts waits for a number of ack waits, because the length of the fault is what is tested.
func (w *world) lasts(ctx context.Context, ackWaits float64) error {
	t := time.NewTimer(time.Duration(ackWaits * float64(w.lab.options.ackWait)))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// logged returns how many lines of the workers' current processes contain all the words.
func (w *world) logged(words ...string) (n int) {
	for _, k := range w.workers {
		text, _ := k.process.output()
		for line := range strings.Lines(text) {
			if holdsAll(line, words) {
				n++
			}
		}
	}
	return n
}
