package controlplane

import (
	"context"
	"strconv"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Pooled reports whether a pooler is in front of the database. Connect then uses no named
// statements: in transaction mode a pooler leaves them to other clients' sessions.
func Pooled(ctx context.Context, pool *pgxpool.Pool) (bool, error) {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return false, err
	}
	defer conn.Release()
	return pooled(ctx, conn.Conn().PgConn())
}

// pooled compares the number of the server's process with what was given to cancel by: a pooler
// makes up one of its own.
func pooled(ctx context.Context, conn *pgconn.PgConn) (bool, error) {
	results, err := conn.Exec(ctx, "SELECT pg_catalog.pg_backend_pid()").ReadAll()
	if err != nil {
		return false, err
	}
	return string(results[0].Rows[0][0]) != strconv.FormatUint(uint64(conn.PID()), 10), nil
}

// withoutNames returns a function that keeps a pool's next connection from naming statements behind a
// pooler. The first connection is preceded by one that finds out; while that fails each is, and the
// connection itself says why.
func withoutNames(c *pgxpool.Config) func(context.Context, *pgx.ConnConfig) {
	if c.ConnConfig.DefaultQueryExecMode != pgx.QueryExecModeCacheStatement {
		return func(context.Context, *pgx.ConnConfig) {}
	}
	var mu sync.Mutex
	var known, behind bool
	return func(ctx context.Context, cc *pgx.ConnConfig) {
		mu.Lock()
		defer mu.Unlock()
		if !known {
			if conn, err := pgx.ConnectConfig(ctx, cc.Copy()); err == nil {
				behind, err = pooled(ctx, conn.PgConn())
				known = err == nil
				_ = conn.Close(ctx) // nothing was changed
			}
		}
		if behind {
			cc.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
		}
	}
}
