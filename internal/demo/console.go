package demo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/pgcourier/pgcourier/internal/api/access"
	"github.com/pgcourier/pgcourier/internal/api/console"
	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/pgcluster/freeport"
	"github.com/pgcourier/pgcourier/internal/project"
	"github.com/pgcourier/pgcourier/internal/secret"
	"github.com/pgcourier/pgcourier/internal/service"
)

const (
	// consoleToken is how long the token of the demo's console is valid.
	consoleToken = 8 * time.Hour
	// consoleLink is how long the login link is.
	consoleLink = 15 * time.Minute
)

// serveConsole runs the worker again, with the console, until ctx ends.
func (d *story) serveConsole(ctx context.Context) error {
	port, err := freeport.Get()
	if err != nil {
		return err
	}
	c := d.config
	c.Roles = append(slices.Clone(c.Roles), config.RoleAPI)
	c.APIAddr = fmt.Sprintf("127.0.0.1:%d", port)
	c.PublicURL = "http://" + c.APIAddr
	token, hash := access.NewSecret()
	once := &console.OneTimeLogin{Code: secret.String(strings.ToLower(rand.Text())), Token: token, Ends: time.Now().Add(consoleLink)}
	s, err := service.New(ctx, service.Config{
		Settings: c, Version: d.Version, S3: d.storage.keys, Once: once, Log: slog.New(slog.NewTextHandler(d.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
	})
	if err != nil {
		return err
	}
	running, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- s.Run(running) }()
	err = service.WithLedger(ctx, c, func(ctx context.Context, l *ledger.Ledger, _ *project.Projects) error {
		_, err := l.AddToken(ctx, access.Token{
			ID: access.NewTokenID(), Project: access.AllProjects, Scopes: []access.Scope{access.Admin}, Label: "demo", CreatedBy: "demo",
		}, hash, consoleToken)
		return err
	})
	if err == nil {
		d.say("The console, until Ctrl-C")
		d.tell("address  %s/console/", c.PublicURL)
		d.tell("log in   %s%s   once, within %.0f minutes", c.PublicURL, console.OneTimePath(once.Code), consoleLink.Minutes())
		d.tell("token    %s", token.Reveal())
		select {
		case <-ctx.Done():
		case err = <-ended:
			ended <- nil
		}
	}
	cancel()
	return errors.Join(err, <-ended, s.Close())
}
