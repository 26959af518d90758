package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/pgcourier/pgcourier/events"
)

// rolesAPI makes a worker serve the HTTP API and nothing else.
const rolesAPI = "ROLES=api"

// worker is `pgcourier serve` with its embedded broker, and a gateway's connection to it.
type worker struct {
	*process
	dir     string // its DATA_DIR
	tmp     string // its TMPDIR, and where it spools
	storage string // its exports, when they are kept in a folder
	api     string // address of its HTTP API, with rolesAPI
	nc      *nats.Conn
	client  *events.Client
}

// startWorker starts a fresh worker and waits until it serves. Settings are PGCOURIER_
// variables without their prefix. The caller calls close.
func (l *lab) startWorker(ctx context.Context, settings ...string) (*worker, error) {
	dir, err := l.folder("worker")
	if err != nil {
		return nil, err
	}
	return l.startWorkerOn(ctx, dir, settings...)
}

// startWorkerOn starts a worker on the data folder of an earlier one.
func (l *lab) startWorkerOn(ctx context.Context, dir string, settings ...string) (*worker, error) {
	w := &worker{dir: dir, tmp: filepath.Join(dir, "tmp"), storage: filepath.Join(dir, "exports")}
	for _, d := range []string{w.tmp, w.storage} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, err
		}
	}
	cmd := exec.CommandContext(ctx, l.binary, "serve") //nolint:gosec // just built
	cmd.Dir = dir
	cmd.Env = []string{
		"PATH=/usr/bin:/bin", "TMPDIR=" + w.tmp,
		"AWS_ACCESS_KEY_ID=bench", "AWS_SECRET_ACCESS_KEY=bench-secret", // of the S3 test server
		"PGCOURIER_DATABASE_URL=" + l.cluster.URL(controlDatabase), "PGCOURIER_PROJECT_QUERY=" + projectQuery,
		"PGCOURIER_NATS_PORT=-1", "PGCOURIER_DATA_DIR=" + dir, "PGCOURIER_SPOOL_DIR=" + w.tmp,
		"PGCOURIER_STORAGE=file://" + w.storage, "PGCOURIER_LOG_FORMAT=json",
	}
	if l.clients != "" {
		cmd.Env = append(cmd.Env, "PGCOURIER_PG_BIN_DIR="+l.clients)
	}
	for _, s := range settings {
		cmd.Env = append(cmd.Env, "PGCOURIER_"+s) // the last one of a name counts
	}
	if err := l.adopt(ctx, w, cmd.Env); err != nil {
		return nil, err
	}
	var err error
	serving := func(line string) bool { return strings.Contains(line, `"msg":"serving"`) }
	if slices.Contains(settings, rolesAPI) {
		serving = func(line string) bool {
			var said struct{ Msg, Addr string }
			if json.Unmarshal([]byte(line), &said) != nil || said.Msg != "HTTP API listens" {
				return false
			}
			w.api = "http://" + said.Addr
			return true
		}
	}
	if w.process, err = start(ctx, "worker", cmd, serving); err != nil {
		return nil, err
	}
	if err := w.connect(); err != nil {
		w.kill()
		return nil, err
	}
	return w, nil
}

// adopt tells the ledger that the worker has a new storage folder. The ledger remembers the earlier
// worker's exports, and a worker refuses to start on an empty storage that had exports.
func (l *lab) adopt(ctx context.Context, w *worker, env []string) error {
	if l.storage == w.storage {
		return nil
	}
	known := l.storage != ""
	l.storage = w.storage
	if !known { // the first worker makes the ledger
		return nil
	}
	cmd := exec.CommandContext(ctx, l.binary, "storage", "adopt", "file", "--storage", "file://"+w.storage) //nolint:gosec // just built
	cmd.Dir, cmd.Env = w.dir, env
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", cmd, err, out)
	}
	return nil
}

// connect connects as a gateway to the worker's own broker.
func (w *worker) connect() error {
	url, err := os.ReadFile(filepath.Join(w.dir, "nats.url"))
	if err != nil {
		return err
	}
	key, err := nats.NkeyOptionFromSeed(filepath.Join(w.dir, "keys", "gateway.nk"))
	if err != nil {
		return fmt.Errorf("read the gateway's key: %w", err)
	}
	if w.nc, err = nats.Connect(strings.TrimSpace(string(url)), key, nats.CustomInboxPrefix("_INBOX_gateway")); err != nil {
		return fmt.Errorf("connect to the embedded broker: %w", err)
	}
	w.client, err = events.NewClient(w.nc)
	return err
}

// close ends the worker in an orderly way and removes its folder.
func (w *worker) close() error { return errors.Join(w.stop(), os.RemoveAll(w.dir)) }

// stop ends it and leaves the folder.
func (w *worker) stop() error {
	w.nc.Close()
	return w.end()
}

// ask publishes one request and waits for its outcome, which must be a completed export. The time
// is the gateway's: from before the publish until the outcome arrived.
func (w *worker) ask(ctx context.Context, r events.Requested) (c *events.Completed, published time.Time, took time.Duration, err error) {
	published = time.Now()
	id, err := w.client.RequestBackup(ctx, r)
	if err != nil {
		return nil, published, 0, err
	}
	o, err := w.client.Await(ctx, r.ProjectID, id)
	took = time.Since(published)
	if err != nil {
		return nil, published, took, err
	}
	if o.Failed != nil {
		return nil, published, took, fmt.Errorf("export of %s failed: %s: %s", r.ProjectID, o.Failed.Code, o.Failed.Message)
	}
	return o.Completed, published, took, nil
}

// publishers is the number of concurrent publishes of a gateway that queues many requests.
const publishers = 16

// askAll publishes all requests as fast as the broker accepts them and waits for as many outcomes,
// all of which must be completed exports. The time runs from before the first publish until the
// last outcome arrived.
func (w *worker) askAll(ctx context.Context, requests []events.Requested) (done []*events.Completed, took time.Duration, err error) {
	outcomes := make(chan *nats.Msg, len(requests)+1)
	for _, subject := range []string{events.CompletedFilter, events.FailedFilter} {
		sub, err := w.nc.ChanSubscribe(subject, outcomes)
		if err != nil {
			return nil, 0, err
		}
		defer func() { _ = sub.Unsubscribe() }()
	}
	if err := w.nc.Flush(); err != nil {
		return nil, 0, err
	}
	began := time.Now()
	if err := w.publishAll(ctx, requests); err != nil {
		return nil, 0, err
	}
	for len(done) < len(requests) {
		select {
		case m := <-outcomes:
			if strings.HasPrefix(m.Subject, events.TypeFailed+".") {
				return nil, 0, fmt.Errorf("%s: %s", m.Subject, m.Data)
			}
			c := &events.Completed{}
			if err := json.Unmarshal(m.Data, c); err != nil {
				return nil, 0, fmt.Errorf("%s: %w", m.Subject, err)
			}
			done = append(done, c)
		case <-w.exited:
			return nil, 0, fmt.Errorf("the worker ended: %w: %s", w.err, w.last())
		case <-ctx.Done():
			return nil, 0, context.Cause(ctx)
		}
	}
	return done, time.Since(began), nil
}

// publishAll queues all requests.
func (w *worker) publishAll(ctx context.Context, requests []events.Requested) error {
	queue := make(chan events.Requested)
	errs := make(chan error, publishers)
	var all sync.WaitGroup
	for range publishers {
		all.Go(func() {
			for r := range queue {
				if _, err := w.client.RequestBackup(ctx, r); err != nil {
					select {
					case errs <- err:
					default:
					}
				}
			}
		})
	}
	for _, r := range requests {
		queue <- r
	}
	close(queue)
	all.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

// file is where an export lies that was kept in the worker's folder.
func (w *worker) file(c *events.Completed) (string, error) {
	key, ok := strings.CutPrefix(c.Storage[0].URI, "file:")
	if !ok {
		return "", fmt.Errorf("%q is in no folder", c.Storage[0].URI)
	}
	return filepath.Join(w.storage, filepath.FromSlash(key)), nil
}
