package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/pgcourier/pgcourier/events"
)

// The embedded broker runs in the first worker's process, with its store and the keys of its users
// in that worker's DATA_DIR. The second worker and the harness reach it over TCP.

func embeddedFaults() []fault {
	return []fault{{
		name: "broker-disk-full", about: "the disk of the embedded broker is full while requests run, for two ack waits and more",
		embedded: true, dataTmpfs: "12m", unpublished: true,
		strike: brokerDiskFull,
	}}
}

// placeEmbedded chooses the address of the first worker's broker.
func (w *world) placeEmbedded() error {
	ports, err := freePorts(2)
	if err != nil {
		return err
	}
	data := w.dataFolder(0)
	w.broker = &broker{
		dir: w.dir, binary: w.lab.natsd, keys: filepath.Join(data, "keys"), user: "operator",
		nodes: []*node{{name: "pgcourier", port: ports[0], monitorPort: ports[1], folder: filepath.Join(data, "broker")}},
	}
	return nil
}

// joinEmbedded connects to the broker of the running first worker.
func (w *world) joinEmbedded(ctx context.Context) (err error) {
	if err = w.giveWorkerKey(w.broker.keys); err != nil {
		return err
	}
	if err = w.broker.connect(ctx); err != nil {
		return err
	}
	if w.gateway, err = w.broker.login("gateway"); err != nil {
		return err
	}
	w.client, err = events.NewClient(w.gateway)
	return err
}

// reopenEmbedded starts a nats-server on the store of the ended worker, so that its streams can be
// read for the account.
func (w *world) reopenEmbedded(ctx context.Context) error {
	users, err := w.pgcourierSays(ctx, "broker", "config", "--nats-keys", w.broker.keys)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(w.dir, usersFile), users, 0o600); err != nil {
		return err
	}
	if err := w.broker.start(ctx, w.broker.nodes[0]); err != nil {
		return err
	}
	return until(ctx, timeout(0), "the embedded broker's store to be read by nats-server", func(ctx context.Context) (bool, error) {
		_, err := w.broker.js.Stream(ctx, events.StreamOutcomes)
		return err == nil, err
	})
}

// brokerDiskFull fills the first worker's DATA_DIR while its dumps run, and frees it after the
// worker has noticed that its broker accepts no messages.
func brokerDiskFull(ctx context.Context, w *world) error {
	half := len(w.jobs) / 2
	if err := w.publish(ctx, w.jobs[:half]); err != nil {
		return err
	}
	if _, err := w.dumping(ctx); err != nil {
		return err
	}
	path := filepath.Join(w.workers[0].data, filler)
	if err := fill(path); err != nil {
		return err
	}
	seen, cancel := context.WithTimeout(ctx, timeout(0))
	defer cancel()
	err := errors.Join(w.workers[0].process.said(seen, "the embedded broker takes no messages"), w.lasts(ctx, 2))
	// The broker refuses most of these. One that it accepts must be run.
	for _, j := range w.jobs[half:] {
		_ = w.publishOnce(ctx, j)
	}
	err = errors.Join(err, os.Remove(path))
	w.heal()
	return errors.Join(err, w.publish(ctx, w.jobs[half:]))
}
