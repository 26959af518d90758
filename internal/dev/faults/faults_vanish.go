package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/pgcourier/pgcourier/internal/failpoint"
)

func vanishFaults() []fault {
	return []fault{{
		name: "worker-vanishes", about: "a worker's machine vanishes in mid-dump without closing a connection; another finishes", workers: 1,
		failpoints: string(failpoint.MidStream) + "=stop", unpublished: true,
		prepare: prepareVanishing, strike: vanishing,
	}}
}

// prepareVanishing gives the first worker its own network, with a direct route to the source: a
// proxy would keep the connection that the worker has lost.
func prepareVanishing(ctx context.Context, w *world) (err error) {
	if w.network, err = openNetwork(ctx); err != nil {
		return err
	}
	w.undo = append(w.undo, w.network.remove)
	if err = w.lab.sourceListens(ctx, loopback+","+networkHost); err != nil {
		return err
	}
	w.undo = append(w.undo, func() error { return w.lab.sourceListens(context.WithoutCancel(ctx), loopback) })
	source := w.lab.source.URL(sourceDatabase)
	local, remote := net.JoinHostPort(loopback, strconv.Itoa(w.lab.source.Port)), net.JoinHostPort(networkHost, strconv.Itoa(w.lab.source.Port))
	if _, err = w.lab.ledger.Exec(ctx, `UPDATE control_plane.projects SET dsn = $1`, strings.Replace(source, local, remote, 1)); err != nil {
		return err
	}
	w.jobs[0].ProjectID = slowProject // large enough to fill all buffers on its way
	return nil
}

// sourceListens restarts the source on other addresses, and permits logins from the range of the
// networks.
func (l *lab) sourceListens(ctx context.Context, addresses string) error {
	var rules string
	if err := l.origin.QueryRow(ctx, `SELECT setting FROM pg_settings WHERE name = 'hba_file'`).Scan(&rules); err != nil {
		return err
	}
	b, err := os.ReadFile(rules) //nolint:gosec // the cluster's own
	if err != nil {
		return err
	}
	const rule = "host all all " + networkRange + " scram-sha-256\n"
	if !strings.Contains(string(b), rule) {
		if err := os.WriteFile(rules, append(b, rule...), 0o600); err != nil { //nolint:gosec // it is there, and stays the server's
			return err
		}
	}
	if _, err := l.origin.Exec(ctx, fmt.Sprintf("ALTER SYSTEM SET listen_addresses = '%s'", addresses)); err != nil {
		return err
	}
	err = errors.Join(l.source.Halt(ctx, "fast"), l.source.Resume(ctx))
	l.origin.Reset()
	return err
}

// vanishing stops the first worker during a dump, cuts its network, kills it, and leaves the rest
// to a second worker. The sessions of the lost dump on the source must end within two leases.
func vanishing(ctx context.Context, w *world) error {
	if err := w.publish(ctx, w.jobs[:1]); err != nil {
		return err
	}
	if err := w.stopped(ctx, string(failpoint.MidStream)); err != nil {
		return err
	}
	const both = 2 // the snapshot's and the dump's
	if err := w.sessionsAtGuest(ctx, both); err != nil {
		return err
	}
	second, err := w.newWorker(1)
	if err != nil {
		return err
	}
	w.workers = append(w.workers, second)
	if err := errors.Join(second.start(ctx, ""), w.network.vanish(ctx)); err != nil {
		return err
	}
	w.heal()
	if err := errors.Join(w.publish(ctx, w.jobs[1:]), w.sessionsAtGuest(ctx, 0)); err != nil {
		return err
	}
	took, allowed := time.Since(w.healedAt), 2*w.lab.options.ackWait // a lease lasts for an ack wait
	w.lab.options.log.InfoContext(ctx, "sessions of the vanished worker gone", "took", took.Round(10*time.Millisecond), "allowed", allowed)
	if took > allowed {
		return fmt.Errorf("the sessions of the vanished worker were there for %s, and may for %s", took.Round(10*time.Millisecond), allowed)
	}
	return nil
}

// sessionsAtGuest waits until so many sessions of dumps from the first worker's network are open on
// the source. It does not count a session that is idle between two dumps.
func (w *world) sessionsAtGuest(ctx context.Context, want int) error {
	return until(ctx, timeout(0), fmt.Sprintf("%d sessions of the worker's dump", want), func(ctx context.Context) (bool, error) {
		var n int
		err := w.lab.origin.QueryRow(ctx, `SELECT count(*) FROM pg_stat_activity WHERE client_addr = $1::inet
			AND (application_name LIKE 'pgcourier dump%' OR application_name LIKE 'pgcourier snapshot%')`, networkGuest).Scan(&n)
		if err == nil && n != want {
			err = fmt.Errorf("there are %d", n)
		}
		return err == nil, err
	})
}
