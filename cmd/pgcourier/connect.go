package main

import (
	"context"
	"errors"
	"log/slog"

	"github.com/nats-io/nats.go"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/broker/server"
	"github.com/pgcourier/pgcourier/internal/broker/setup"
	"github.com/pgcourier/pgcourier/internal/config"
)

// connectBroker is setup.Connect with an exit code.
func connectBroker(c config.Config, user server.User, log *slog.Logger) (*nats.Conn, error) {
	nc, err := setup.Connect(c, user, log)
	return nc, brokerExit(err)
}

func brokerExit(err error) error {
	if _, setting := errors.AsType[*config.Error](err); setting {
		return exit(exitUsage, err)
	}
	if errors.Is(err, broker.ErrUnreachable) || errors.Is(err, broker.ErrUnauthorized) || errors.Is(err, server.ErrNoServer) {
		return exit(exitUnreachable, err)
	}
	return err
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
