package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/storage"
)

// settle waits until all requests have ended and are cleaned up. A condition that is not met in
// time is not an error here: the account reports what is missing.
func (w *world) settle(ctx context.Context) (late error) {
	return until(ctx, timeout(len(w.jobs)), "all to settle", func(ctx context.Context) (bool, error) {
		if n, err := w.outcomesStored(ctx); err != nil || n < len(w.jobs) {
			return false, errors.Join(err, fmt.Errorf("%d outcomes of %d", n, len(w.jobs)))
		}
		if n, err := w.count(ctx, `SELECT count(*) FROM pgcourier.requests WHERE published_at IS NULL`); err != nil || n > 0 {
			return false, errors.Join(err, fmt.Errorf("%d requests are not published", n))
		}
		if left, err := w.queued(ctx); err != nil || left > 0 {
			return false, errors.Join(err, fmt.Errorf("%d messages are queued", left))
		}
		extra, err := w.extraFiles(ctx)
		if err != nil || len(extra) > 0 {
			return false, errors.Join(err, fmt.Errorf("storage also holds %q", extra))
		}
		return true, nil
	})
}

// queued counts the messages that are waiting, held or dead.
func (w *world) queued(ctx context.Context) (int, error) {
	total := 0
	for _, stream := range []string{events.StreamRequests, events.StreamIntake} {
		s, err := w.broker.js.Stream(ctx, stream)
		if err != nil {
			return 0, err
		}
		total += int(min(s.CachedInfo().State.Msgs, 1<<30))
	}
	return total, nil
}

// extraFiles returns the files in the storage other than the objects, manifests and receipts of
// completed requests, including staging files.
func (w *world) extraFiles(ctx context.Context) ([]string, error) {
	rows, err := w.lab.ledger.Query(ctx, `SELECT a.object FROM pgcourier.attempts a WHERE a.result = 'completed'`)
	if err != nil {
		return nil, err
	}
	expected := map[string]bool{}
	var key string
	for rows.Next() {
		if err := rows.Scan(&key); err != nil {
			return nil, err
		}
		expected[key], expected[key+".manifest.json"], expected[key+".receipt.json"] = true, true, true
	}
	if rows.Err() != nil {
		return nil, rows.Err()
	}
	var extra []string
	err = filepath.WalkDir(w.storage, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed meanwhile
		}
		if err != nil {
			return err
		}
		name, err := filepath.Rel(w.storage, path)
		if err != nil {
			return err
		}
		if !e.IsDir() && !expected[name] && name != filler && name != storage.MarkerName {
			extra = append(extra, name)
		}
		return nil
	})
	return extra, err
}

// announced is one message in the stream of outcomes.
type announced struct {
	subject string
	events.Outcome
}

func (a announced) key() string {
	project, request := a.IDs()
	return project + "/" + request
}

// outcomes reads the whole stream of outcomes.
func (w *world) outcomes(ctx context.Context) ([]announced, error) {
	all, _, err := w.outcomesFrom(ctx, 1)
	return all, err
}

// outcomesFrom reads the outcomes from a sequence on, and returns the last one's.
func (w *world) outcomesFrom(ctx context.Context, next uint64) (all []announced, last uint64, err error) {
	s, err := w.broker.js.Stream(ctx, events.StreamOutcomes)
	if err != nil {
		return nil, 0, err
	}
	last = s.CachedInfo().State.LastSeq
	for next <= last {
		m, err := s.GetMsg(ctx, next, jetstream.WithGetMsgSubject(">"))
		if err != nil {
			return nil, 0, fmt.Errorf("read outcome %d: %w", next, err)
		}
		header := map[string]string{}
		for name, values := range m.Header {
			header[name] = strings.Join(values, ", ")
		}
		o, err := events.DecodeOutcome(events.Message{Subject: m.Subject, Header: header, Body: m.Data})
		if err != nil {
			return nil, 0, fmt.Errorf("decode outcome %d on %s: %w", next, m.Subject, err)
		}
		all = append(all, announced{m.Subject, o})
		next = m.Sequence + 1
	}
	return all, last, nil
}

// leaks lists what the workers left behind outside the storage: processes, sessions and
// temporary files.
func (w *world) leaks(ctx context.Context) ([]string, error) {
	dumps, err := w.dumps()
	if err != nil {
		return nil, err
	}
	var found []string
	for _, pid := range dumps {
		found = append(found, fmt.Sprintf("pg_dump with pid %d", pid))
	}
	for name, pool := range map[string]interface {
		sessions(ctx context.Context) (int, error)
	}{"control plane": pooled{w.lab.ledger}, "source": pooled{w.lab.origin}} {
		n, err := pool.sessions(ctx)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			found = append(found, fmt.Sprintf("%d sessions on the %s", n, name))
		}
	}
	files, err := filepath.Glob(filepath.Join(w.dir, "tmp-*", "*"))
	for _, f := range files {
		found = append(found, "temporary file "+filepath.Base(f))
	}
	slices.Sort(found)
	return found, err
}

// dumps returns the pids of every pg_dump that uses the lab's edges.
func (w *world) dumps() ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, e := range entries {
		var pid int
		if _, err := fmt.Sscanf(e.Name(), "%d", &pid); err != nil {
			continue
		}
		environ, err := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		if err != nil {
			continue // gone, or not ours to read
		}
		vars := strings.Split(string(environ), "\x00")
		for _, edge := range []*edge{w.lab.sourceEdge, w.lab.slowEdge} {
			if slices.Contains(vars, "PGPORT="+edge.port()) {
				pids = append(pids, pid)
			}
		}
	}
	return pids, nil
}
