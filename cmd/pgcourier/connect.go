package main

import (
	"context"
	"errors"
	"log/slog"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/config"
)

// connectBroker connects to the broker that c names, or to the embedded one that runs on
// the data folder. The caller closes the connection.
func connectBroker(c config.Config, name string, log *slog.Logger) (*nats.Conn, error) {
	urls := strings.Split(c.NATSURL.Reveal(), ",")
	if c.NATSURL == "" {
		url, err := broker.ServerURL(c.DataDir)
		if errors.Is(err, broker.ErrNoServer) {
			return nil, exitf(exitUnreachable, "no broker: set PGCOURIER_NATS_URL, or run `pgcourier serve` with the same DATA_DIR: %w", err)
		}
		if err != nil {
			return nil, err
		}
		urls = []string{url}
	}
	nc, err := broker.Connect(broker.Config{
		URLs: urls, Name: name, CredentialsFile: c.NATSCreds, NKeySeedFile: c.NATSNKey,
		CAFile: c.NATSTLSCA, CertFile: c.NATSTLSCert, KeyFile: c.NATSTLSKey, Logger: log,
	})
	if errors.Is(err, broker.ErrUnreachable) || errors.Is(err, broker.ErrUnauthorized) {
		return nil, exit(exitUnreachable, err)
	}
	return nc, exit(exitUsage, err)
}

// withClient runs one command of a gateway's kind.
func (a *app) withClient(ctx context.Context, c config.Config, do func(context.Context, *events.Client) error) error {
	nc, err := connectBroker(c, "pgcourier-cli", a.logger(c))
	if err != nil {
		return err
	}
	defer nc.Close()
	client, err := events.NewClient(nc)
	if err != nil {
		return err
	}
	return do(ctx, client)
}
