package main

import (
	"context"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/internal/broker/server"
	"github.com/pgcourier/pgcourier/internal/broker/setup"
)

// login is a connection as one of the broker's users.
type login struct {
	nc *nats.Conn
	js jetstream.JetStream
}

// startServer runs the embedded broker, and logs in as who may make its streams: none of
// the roles may.
func (w *worker) startServer(ctx context.Context) (err error) {
	c := w.config
	w.server, err = server.Start(server.Config{
		DataDir: c.DataDir, Host: c.NATSHost, Port: c.NATSPort,
		CertFile: c.NATSCert, KeyFile: c.NATSKey, ClientCAFile: c.NATSClientCA, Logger: w.log,
	})
	if err != nil {
		return err
	}
	w.closers = append(w.closers, w.server.Shutdown)
	w.log.InfoContext(ctx, "embedded broker listens", "url", w.server.ClientURL(), "keys", server.KeysDir(c.DataDir))
	nc, err := w.server.ConnectAdmin(w.log)
	if err != nil {
		return err
	}
	w.closers = append(w.closers, func() error { nc.Close(); return nil })
	w.admin, err = jetstream.New(nc)
	return err
}

// logIn connects as user. Where there is one login for all, all share one connection.
func (w *worker) logIn(user server.User) (login, error) {
	if setup.KeysDir(w.config) == "" && w.nc != nil {
		w.logins[user] = login{w.nc, w.js}
		return w.logins[user], nil
	}
	var nc *nats.Conn
	var err error
	if w.server != nil {
		nc, err = setup.ConnectLocal(w.config, user, w.server, w.log)
	} else {
		nc, err = setup.Connect(w.config, user, w.log)
	}
	if err != nil {
		return login{}, brokerExit(err)
	}
	w.closers = append(w.closers, func() error { nc.Close(); return nil })
	js, err := jetstream.New(nc)
	w.logins[user] = login{nc, js}
	return w.logins[user], err
}

// connected reports whether all connections to the broker are up.
func (w *worker) connected() bool {
	for _, l := range w.logins {
		if !l.nc.IsConnected() {
			return false
		}
	}
	return true
}
