package main

import (
	"context"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/broker/server"
	"github.com/pgcourier/pgcourier/internal/broker/setup"
	"github.com/pgcourier/pgcourier/internal/config"
)

// withClient runs one command of a gateway's kind.
func (a *app) withClient(ctx context.Context, c config.Config, user server.User, do func(context.Context, *events.Client) error) error {
	nc, err := setup.Connect(c, user, a.logger(c))
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
