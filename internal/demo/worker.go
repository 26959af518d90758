package demo

import (
	"context"
	"errors"
	"log/slog"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/broker/server"
	"github.com/pgcourier/pgcourier/internal/broker/setup"
	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/secret"
	"github.com/pgcourier/pgcourier/internal/service"
)

// startWorker runs what `pgcourier serve` runs, on the demo's database. The returned
// function ends it in order; the storage stays open.
func (d *story) startWorker(ctx context.Context, scratch string) (stop func() error, err error) {
	d.say("A worker with an embedded broker, as `pgcourier serve` runs it")
	c, err := config.Load(nil, map[string]string{"DATA_DIR": scratch, "NATS_PORT": "-1", "ACK_WAIT": "5s", "LOG_LEVEL": "error"})
	if err != nil {
		return nil, err
	}
	c.DatabaseURL = secret.String(d.cluster.URL("platform"))
	log := slog.New(slog.NewTextHandler(d.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	if err := d.openStorage(&c); err != nil {
		return nil, err
	}
	d.config = c
	if d.exports, err = d.openExports(log); err != nil {
		return nil, errors.Join(err, d.storage.close())
	}
	if d.worker, err = service.New(ctx, service.Config{Settings: c, Version: d.Version, S3: d.storage.keys, Log: log}); err != nil {
		return nil, errors.Join(err, d.exports.Close(), d.storage.close())
	}
	// As any gateway on this host connects: with the key that the broker made for it.
	if d.gateway, err = setup.Connect(c, server.UserGateway, log); err != nil {
		return nil, errors.Join(err, d.worker.Close(), d.exports.Close(), d.storage.close())
	}
	if d.client, err = events.NewClient(d.gateway); err != nil {
		return nil, errors.Join(err, d.worker.Close(), d.exports.Close(), d.storage.close())
	}
	running, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- d.worker.Run(running) }()
	d.tell("broker %s, which knows its users by their keys", d.gateway.ConnectedUrlRedacted())
	return func() error {
		cancel()
		d.gateway.Close()
		return errors.Join(<-ended, d.worker.Close())
	}, nil
}
