// Package controlplane connects to the control plane's database, which also holds the
// ledger, and tells its outages from its refusals.
package controlplane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgcourier/pgcourier/internal/secret"
)

// Connect returns a pool of connections to the control plane; it connects when first
// used. The DSN is a URL or a keyword string as libpq knows them; pool_max_conns and its
// kin work too. Connecting is bounded by 5 s unless the DSN says connect_timeout. The
// caller closes the pool. Errors do not hold the DSN. command gives the password of each
// connection where the DSN has none.
//
// Every query mode but cache_statement becomes cache_describe: see describe.
func Connect(ctx context.Context, dsn secret.String, command secret.Command) (*pgxpool.Pool, error) {
	return ConnectFor(ctx, dsn, command, 0)
}

// ConnectFor is Connect for a process that makes up to calls calls at the same time. The pool may grow to
// as many connections, or to pgx's default if that is more: the greater of 4 and the number of cores.
// pool_max_conns in the DSN wins over both.
func ConnectFor(ctx context.Context, dsn secret.String, command secret.Command, calls int32) (*pgxpool.Pool, error) {
	c, err := pgxpool.ParseConfig(dsn.Reveal())
	if err != nil {
		return nil, errUnparsed
	}
	params := c.ConnConfig.RuntimeParams
	if params["application_name"] == "" {
		params["application_name"] = "pgcourier"
	}
	if c.ConnConfig.ConnectTimeout == 0 {
		c.ConnConfig.ConnectTimeout = 5 * time.Second
	}
	c.MaxConns = size(c, dsn, calls)
	describe(c.ConnConfig)
	avoidNames := withoutNames(c)
	c.BeforeConnect = func(ctx context.Context, to *pgx.ConnConfig) (err error) {
		if to.Password == "" {
			if to.Password, err = command.Password(ctx, to.Host, to.Port, to.User, to.Database); err != nil {
				return err
			}
		}
		avoidNames(ctx, to)
		return nil
	}
	pool, err := pgxpool.NewWithConfig(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("open pool: %w", err)
	}
	return pool, nil
}

// PoolSize returns how many connections a pool of ConnectFor may have.
func PoolSize(dsn secret.String, calls int32) (int32, error) {
	c, err := pgxpool.ParseConfig(dsn.Reveal())
	if err != nil {
		return 0, errUnparsed
	}
	return size(c, dsn, calls), nil
}

func size(c *pgxpool.Config, dsn secret.String, calls int32) int32 {
	if sized(dsn) {
		return c.MaxConns
	}
	return max(c.MaxConns, calls)
}

// errUnparsed takes the place of the parser's error, which quotes the DSN with its password masked as best
// it can: not good enough for a log.
var errUnparsed = errors.New("parse the control plane's connection string: it is neither a valid URL nor a valid keyword string")

// sized reports whether a valid DSN sets the size of the pool. The pool's own configuration does not tell
// its default from a value that was set.
func sized(dsn secret.String) bool {
	c, err := pgx.ParseConfig(dsn.Reveal())
	if err != nil {
		return false
	}
	_, set := c.RuntimeParams["pool_max_conns"]
	return set
}

// describe makes cache_describe of every query mode but cache_statement.
//
// The ledger's statements and PROJECT_QUERY rely on the server to tell the types of parameters.
// With exec and simple_protocol a []byte for a jsonb column is sent as bytea. These modes are
// asked for behind poolers, which do not keep prepared statements: cache_describe uses none by
// name, and sends each query whole in one round trip. describe_exec takes two, between which
// a pooler may change the server.
func describe(c *pgx.ConnConfig) {
	if c.DefaultQueryExecMode != pgx.QueryExecModeCacheStatement || c.StatementCacheCapacity == 0 {
		c.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	}
	if c.DescriptionCacheCapacity == 0 {
		c.DescriptionCacheCapacity = descriptions
	}
}

// descriptions is pgx's own default: more than there are statements.
const descriptions = 512

// Unavailable reports whether err says that the database cannot be used at all now, as
// opposed to refusing this call.
func Unavailable(err error) bool {
	// While connecting even a refused password is an outage: a worker that runs has
	// connected before.
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok || errors.Is(err, secret.ErrCommand) {
		return true
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return passing(pg.Code)
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	if _, ok := errors.AsType[syscall.Errno](err); ok {
		return true
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, context.DeadlineExceeded) || // the call's own deadline
		errors.Is(err, pgconn.ErrConnClosed) || pgconn.Timeout(err) || pgconn.SafeToRetry(err)
}

// passing selects the SQLSTATEs of a server that stops, starts, is full, is no longer the
// primary, or waits for another session (PostgreSQL documentation, appendix A).
func passing(code string) bool {
	switch code {
	case "57P01", "57P02", "57P03", "57P05", // shut down, crash, starting, idle session ended
		"57014",                   // cancelled: by an administrator or a statement_timeout
		"25006",                   // read-only: a failover left us on a standby
		"25P03",                   // idle in transaction for too long
		"55P03", "40001", "40P01", // waits for a lock or a write of another session
		"40003": // unknown whether the statement completed
		return true
	}
	return strings.HasPrefix(code, "08") || // connection
		strings.HasPrefix(code, "53") || // out of connections, disk, memory
		strings.HasPrefix(code, "58") // the server's own I/O
}
