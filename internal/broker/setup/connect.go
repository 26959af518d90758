package setup

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/broker/server"
	"github.com/pgcourier/pgcourier/internal/config"
)

// KeysDir returns the folder with a key for each user of the broker. Empty: all users share one
// login, or have none.
func KeysDir(c config.Config) string {
	switch {
	case c.NATSKeys != "":
		return c.NATSKeys
	case c.NATSURL == "" && c.NATSNKey == "" && c.NATSCreds == "":
		return server.KeysDir(c.DataDir)
	}
	return ""
}

// Users returns the broker's users for the roles of c, the first role's first.
func Users(c config.Config) []server.User {
	var out []server.User
	if c.Exporting() {
		out = append(out, server.UserWorker)
	}
	if c.Serves(config.RoleVerifier) {
		out = append(out, server.UserVerifier)
	}
	if c.Serves(config.RoleRestorer) {
		out = append(out, server.UserRestorer)
	}
	if c.Serves(config.RoleNotifier) {
		out = append(out, server.UserNotifier)
	}
	if c.Serves(config.RoleAPI) {
		out = append(out, server.UserAPI)
	}
	return out
}

// KeyOf returns the user of the key with which user logs in from a folder of keys: user itself, or
// the operator for a UserAPI without a key there. A folder from an earlier version has no key of
// UserAPI, and the operator has all rights that the API had then.
func KeyOf(dir string, user server.User) server.User {
	if user != server.UserAPI {
		return user
	}
	if _, err := server.FindKey(dir, user); !errors.Is(err, fs.ErrNotExist) {
		return user
	}
	if _, err := server.FindKey(dir, server.UserOperator); err != nil {
		return user
	}
	return server.UserOperator
}

// Connect connects as one of the broker's users to the configured broker, or to the embedded broker
// of another process on the same data folder. The caller closes the connection.
//
// Errors wrap broker.ErrUnreachable, broker.ErrUnauthorized or server.ErrNoServer. Any other is a
// *config.Error.
func Connect(c config.Config, user server.User, log *slog.Logger) (*nats.Conn, error) {
	urls := strings.Split(c.NATSURL.Reveal(), ",")
	if c.NATSURL == "" {
		url, err := server.URL(c.DataDir)
		if errors.Is(err, server.ErrNoServer) {
			return nil, fmt.Errorf("no broker: set PGCOURIER_NATS_URL, or run `pgcourier serve` with the same DATA_DIR: %w", err)
		}
		if err != nil {
			return nil, err
		}
		urls = []string{url}
	}
	return connect(c, user, broker.Config{
		URLs: urls, CAFile: c.NATSTLSCA, CertFile: c.NATSTLSCert, KeyFile: c.NATSTLSKey, TLSFirst: c.NATSTLSFirst, Logger: log,
	})
}

// ConnectLocal connects to the embedded server of this process. Without one it is Connect.
func ConnectLocal(c config.Config, user server.User, local *server.Server, log *slog.Logger) (*nats.Conn, error) {
	return connect(c, user, broker.Config{Server: local, Logger: log})
}

func connect(c config.Config, user server.User, to broker.Config) (*nats.Conn, error) {
	to.Name, to.InboxPrefix = "pgcourier-"+string(user), c.NATSInbox
	dir := KeysDir(c)
	if dir != "" {
		user = KeyOf(dir, user)
	}
	if to.InboxPrefix == "" {
		to.InboxPrefix = user.InboxPrefix()
	}
	to.CredentialsFile, to.NKeySeedFile = c.NATSCreds, c.NATSNKey
	if dir != "" {
		file, err := server.FindKey(dir, user)
		if err != nil {
			return nil, config.AsError(err)
		}
		to.NKeySeedFile = file
	}
	nc, err := broker.Connect(to)
	if errors.Is(err, broker.ErrUnreachable) || errors.Is(err, broker.ErrUnauthorized) {
		return nil, err
	}
	return nc, config.AsError(err)
}

// JetStream returns the JetStream of c over nc: in the server's own domain, or in another.
func JetStream(c config.Config, nc *nats.Conn) (jetstream.JetStream, error) {
	switch {
	case c.NATSDomain != "":
		return jetstream.NewWithDomain(nc, c.NATSDomain)
	case c.NATSPrefix != "":
		return jetstream.NewWithAPIPrefix(nc, c.NATSPrefix)
	}
	return jetstream.New(nc)
}

// Client returns a client that requests and follows exports, over the same streams.
func Client(c config.Config, nc *nats.Conn) (*events.Client, error) {
	js, err := JetStream(c, nc)
	if err != nil {
		return nil, err
	}
	return events.NewClientOver(js), nil
}
