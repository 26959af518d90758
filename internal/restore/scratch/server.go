package scratch

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/libpq"
	"github.com/pgcourier/pgcourier/internal/pgcluster"
	"github.com/pgcourier/pgcourier/internal/restore"
	"github.com/pgcourier/pgcourier/internal/secret"
)

// OpenServer returns the server on which exports are rehearsed: the one that url names, or a
// throw-away one on this machine, in the sandbox if there is one. A dump is a program, so on a
// throw-away server too it runs as a login that may make databases and nothing else. The caller
// calls stop.
func OpenServer(ctx context.Context, url secret.String, in *Sandbox) (scratch restore.Scratch, stop func() error, err error) {
	if url != "" {
		scratch.Server, err = libpq.Parse(url)
		if err != nil {
			return restore.Scratch{}, nil, config.Errorf("PGCOURIER_VERIFY_SCRATCH_URL: %w", err)
		}
		return scratch, func() error { return nil }, nil
	}
	// An export's tables are all locked in one transaction, and few sessions are needed: room
	// for 100,000 locks, some 20 MB.
	c := pgcluster.Config{Settings: map[string]string{"max_connections": "25", "max_locks_per_transaction": "4096"}}
	if in != nil {
		c.Wrap = in.server
	}
	cluster, err := pgcluster.Start(ctx, c)
	if err != nil {
		return restore.Scratch{}, nil, fmt.Errorf("start a throw-away server (or name one with PGCOURIER_VERIFY_SCRATCH_URL): %w", err)
	}
	scratch.Admin, err = libpq.Parse(secret.String(cluster.URL("postgres")))
	if err == nil {
		scratch.Server, err = makeLogin(ctx, scratch.Admin)
	}
	if err != nil {
		return restore.Scratch{}, nil, errors.Join(err, cluster.Stop())
	}
	return scratch, cluster.Stop, nil
}

// makeLogin makes the login of the rehearsals.
func makeLogin(ctx context.Context, admin *libpq.Source) (*libpq.Source, error) {
	const name = "scratch"
	password := rand.Text()
	conn, err := admin.Connect(ctx, map[string]string{})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	// The password is letters and digits. It would stand in the log of a server that logs
	// statements: that one is removed with its log.
	if _, err := conn.Conn.Exec(ctx, "CREATE ROLE "+name+" LOGIN CREATEDB PASSWORD '"+password+"'", pgx.QueryExecModeSimpleProtocol); err != nil {
		return nil, fmt.Errorf("make the scratch login: %w", err)
	}
	return admin.WithLogin(name, password), nil
}
