package main

import (
	"context"
	"errors"
	"log/slog"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/broker/server"
	"github.com/pgcourier/pgcourier/internal/config"
)

// keysOf is the folder in which each user of the broker has a key; empty: there is one
// login for all, or none.
func keysOf(c config.Config) string {
	switch {
	case c.NATSKeys != "":
		return c.NATSKeys
	case c.NATSURL == "" && c.NATSNKey == "" && c.NATSCreds == "":
		return server.KeysDir(c.DataDir)
	}
	return ""
}

// connectBroker connects to the broker that c names, or to the embedded one that runs on
// the data folder, as one of the broker's users. The caller closes the connection.
func connectBroker(c config.Config, user server.User, log *slog.Logger) (*nats.Conn, error) {
	urls := strings.Split(c.NATSURL.Reveal(), ",")
	if c.NATSURL == "" {
		url, err := server.URL(c.DataDir)
		if errors.Is(err, server.ErrNoServer) {
			return nil, exitf(exitUnreachable, "no broker: set PGCOURIER_NATS_URL, or run `pgcourier serve` with the same DATA_DIR: %w", err)
		}
		if err != nil {
			return nil, err
		}
		urls = []string{url}
	}
	return logIn(c, user, broker.Config{
		URLs: urls, CAFile: c.NATSTLSCA, CertFile: c.NATSTLSCert, KeyFile: c.NATSTLSKey, Logger: log,
	})
}

// logIn connects by to as user.
func logIn(c config.Config, user server.User, to broker.Config) (*nats.Conn, error) {
	to.Name, to.InboxPrefix = "pgcourier-"+string(user), c.NATSInbox
	if to.InboxPrefix == "" {
		to.InboxPrefix = user.InboxPrefix()
	}
	to.CredentialsFile, to.NKeySeedFile = c.NATSCreds, c.NATSNKey
	if dir := keysOf(c); dir != "" {
		file, err := server.FindKey(dir, user)
		if err != nil {
			return nil, exit(exitUsage, err)
		}
		to.NKeySeedFile = file
	}
	nc, err := broker.Connect(to)
	if errors.Is(err, broker.ErrUnreachable) || errors.Is(err, broker.ErrUnauthorized) {
		return nil, exit(exitUnreachable, err)
	}
	return nc, exit(exitUsage, err)
}

// withClient runs one command of a gateway's kind.
func (a *app) withClient(ctx context.Context, c config.Config, user server.User, do func(context.Context, *events.Client) error) error {
	nc, err := connectBroker(c, user, a.logger(c))
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
