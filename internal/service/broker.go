package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	_ "time/tzdata" // time zones for the embedded broker, also in a container without zoneinfo files

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/broker/server"
	"github.com/pgcourier/pgcourier/internal/broker/setup"
	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/telemetry"
)

// login is a connection as one of the broker's users.
type login struct {
	nc *nats.Conn
	js jetstream.JetStream
}

// brokerLink holds the connections of one process to the broker, and the embedded server if
// there is one. Run restores missing streams.
type brokerLink struct {
	settings config.Config
	log      *slog.Logger
	server   *server.Server // nil: the broker is external
	logins   map[server.User]login
	first    server.User
	admin    jetstream.JetStream // creates the streams, if it has the right
	closers  []func() error
	// schedules: this process serves schedules, and the broker supported them at the start.
	schedules bool
	found     obstacles
	asked     askedFor
}

// openBroker connects as each of the users that the roles need. The caller closes the link.
func openBroker(ctx context.Context, settings config.Config, log *slog.Logger) (*brokerLink, error) {
	b := &brokerLink{settings: settings, log: log, logins: map[server.User]login{}}
	if err := b.open(ctx); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

func (b *brokerLink) open(ctx context.Context) error {
	if b.settings.NATSURL == "" {
		if err := b.startServer(ctx); err != nil {
			return err
		}
	}
	for i, user := range setup.Users(b.settings) {
		if i == 0 {
			b.first = user
		} else if setup.KeysDir(b.settings) == "" { // one login for all
			b.logins[user] = b.logins[b.first]
			continue
		}
		if err := b.logIn(user); err != nil {
			return err
		}
	}
	if b.admin == nil {
		b.admin = b.logins[b.first].js
	}
	return nil
}

// startServer runs the embedded broker and connects as its administrator, which creates the
// streams. The users of the roles have no right to.
func (b *brokerLink) startServer(ctx context.Context) (err error) {
	c := b.settings
	b.server, err = server.Start(server.Config{
		DataDir: c.DataDir, Host: c.NATSHost, Port: c.NATSPort,
		CertFile: c.NATSCert, KeyFile: c.NATSKey, ClientCAFile: c.NATSClientCA, Logger: b.log,
	})
	if err != nil {
		return err
	}
	b.closers = append(b.closers, b.server.Shutdown)
	b.log.InfoContext(ctx, "embedded broker listens", "url", b.server.ClientURL(), "keys", server.KeysDir(c.DataDir))
	nc, err := b.server.ConnectAdmin(b.log)
	if err != nil {
		return err
	}
	b.closers = append(b.closers, func() error { nc.Close(); return nil })
	if err := b.asked.hear(nc); err != nil {
		return err
	}
	b.admin, err = setup.JetStream(b.settings, nc)
	return err
}

// dial connects as a user, until Close.
func (b *brokerLink) dial(user server.User) (nc *nats.Conn, err error) {
	if b.server != nil {
		nc, err = setup.ConnectLocal(b.settings, user, b.server, b.log)
	} else {
		nc, err = setup.Connect(b.settings, user, b.log)
	}
	if err == nil {
		b.closers = append(b.closers, func() error { nc.Close(); return nil })
	}
	return nc, err
}

func (b *brokerLink) logIn(user server.User) error {
	nc, err := b.dial(user)
	if err != nil {
		return err
	}
	js, err := setup.JetStream(b.settings, nc)
	b.logins[user] = login{nc, js}
	return err
}

// jetStream returns the JetStream of a user's connection.
func (b *brokerLink) jetStream(user server.User) jetstream.JetStream { return b.logins[user].js }

// connection returns a user's connection.
func (b *brokerLink) connection(user server.User) *nats.Conn { return b.logins[user].nc }

// publisher returns a publisher of one of the broker's users, with metrics and traces.
func (b *brokerLink) publisher(user server.User, tel *telemetry.Telemetry) telemetry.Publisher {
	return tel.Publisher(broker.NewPublisher(b.jetStream(user)))
}

// connected reports whether all connections are up.
func (b *brokerLink) connected() bool {
	for _, l := range b.logins {
		if !l.nc.IsConnected() {
			return false
		}
	}
	return true
}

// provision creates the streams and consumers, or checks them if it has no right to create them.
// schedules reports whether this process serves schedules.
func (b *brokerLink) provision(ctx context.Context) (schedules bool, err error) {
	err = broker.Provision(ctx, b.admin, b.topology())
	if drift, ok := errors.AsType[*broker.DriftError](err); ok && b.server == nil && drift.Missing() {
		err = b.madeByOthers(ctx, drift)
	}
	if drift, ok := errors.AsType[*broker.DriftError](err); ok && b.server == nil {
		return false, fmt.Errorf("%w: run `pgcourier broker setup` as the broker's administrator, with the same settings", drift)
	}
	if err != nil {
		return false, err
	}
	schedules, err = b.provisionSchedules(ctx)
	b.schedules = b.schedules || schedules
	return schedules, err
}

// provisionSchedules creates the stream and consumer of schedules if this process is an intake. A
// broker without schedules is not an error: the process logs it once and serves everything else.
func (b *brokerLink) provisionSchedules(ctx context.Context) (bool, error) {
	if !b.settings.Serves(config.RoleIntake) {
		return false, nil
	}
	err := broker.ProvisionSchedules(ctx, b.admin, setup.Topology(b.settings))
	switch {
	case errors.Is(err, broker.ErrNoSchedules):
		b.log.WarnContext(ctx, "this broker does not support schedules", "error", err)
		return false, nil
	case errors.Is(err, broker.ErrNotSetUp):
		b.log.WarnContext(ctx, "schedules are off: let a worker that may make streams start once, then start this one again", "error", err)
		return false, nil
	}
	return err == nil, err
}

// Close closes the connections and ends the embedded server.
func (b *brokerLink) Close() error {
	var faults []error
	for _, c := range slices.Backward(b.closers) {
		faults = append(faults, c())
	}
	b.closers = nil
	return errors.Join(faults...)
}
