package ledger

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgcourier/pgcourier/internal/export"
)

// Config configures a Ledger. Pool is required.
type Config struct {
	// Pool connects to the control plane. The caller closes it after the last use of the Ledger.
	// controlplane.Connect makes one; any other pool works too.
	Pool *pgxpool.Pool
	// Lease is how long a claim lasts without renewal. Default 30 s. Safety does not depend on it: the
	// fence alone keeps attempts apart. A killed worker's request runs again after the longer of Lease
	// and ACK_WAIT, so they should be equal.
	Lease time.Duration
	// MaxAttempts bounds the attempts of one request, however many messages carry it. Default 3, like
	// the queue's deliveries. It must equal the Exporter's.
	MaxAttempts int
	// CallTimeout bounds each call of a method, including the wait for a connection. Default 10 s.
	CallTimeout time.Duration
}

func (c Config) withDefaults() Config {
	if c.Lease == 0 {
		c.Lease = 30 * time.Second
	}
	if c.MaxAttempts == 0 {
		c.MaxAttempts = 3
	}
	if c.CallTimeout == 0 {
		c.CallTimeout = 10 * time.Second
	}
	return c
}

func (c Config) validate() error {
	var errs []error
	if c.Pool == nil {
		errs = append(errs, errors.New("no pool"))
	}
	if c.Lease < 0 {
		errs = append(errs, fmt.Errorf("lease %v is negative", c.Lease))
	}
	if c.MaxAttempts < 0 {
		errs = append(errs, fmt.Errorf("attempts %d are negative", c.MaxAttempts))
	}
	if c.CallTimeout < 0 {
		errs = append(errs, fmt.Errorf("call timeout %v is negative", c.CallTimeout))
	}
	return errors.Join(errs...)
}

// Ledger is a ledger in PostgreSQL. It is safe for concurrent use and needs no Close.
type Ledger struct {
	pool        *pgxpool.Pool
	lease       time.Duration
	maxAttempts int
	timeout     time.Duration
	ofRestores  bool                      // on the tables of restores
	outage      atomic.Pointer[time.Time] // when the database was last seen unavailable; nil: never
}

var (
	_ export.Ledger     = (*Ledger)(nil)
	_ export.Outbox     = (*Ledger)(nil)
	_ export.Reaper     = (*Ledger)(nil)
	_ export.Collector  = (*Ledger)(nil)
	_ export.Cancelling = (*Ledger)(nil)
)

// Open returns the ledger in c.Pool's database and migrates its schema. Any number of processes may
// call it at once. A login without the right to create the schema can open a schema that is up to
// date. ErrSchemaTooNew: a newer release has migrated it. ErrLedgerUnavailable: the database is
// unreachable; call Open again later.
func Open(ctx context.Context, c Config) (*Ledger, error) {
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("configure ledger: %w", err)
	}
	if err := migrate(ctx, c.Pool); err != nil {
		return nil, classify(ctx, "open ledger", err)
	}
	return c.ledger(), nil
}

func (c Config) ledger() *Ledger {
	return &Ledger{
		pool: c.Pool, lease: c.Lease, maxAttempts: c.MaxAttempts, timeout: c.CallTimeout,
	}
}

// errReadOnly says that the database accepts no writes: it is a standby.
var errReadOnly = errors.New("the database is read-only")

// Ping reports whether the ledger can be written to now, for the readiness gate.
func (l *Ledger) Ping(ctx context.Context) error {
	return l.call(ctx, "ping ledger", func(ctx context.Context) error {
		var readOnly string
		if err := l.pool.QueryRow(ctx, "SELECT current_setting('transaction_read_only')").Scan(&readOnly); err != nil {
			return err
		}
		if readOnly == "on" {
			return errReadOnly
		}
		return nil
	})
}

// read runs a query and collects its rows by name into structs of type T.
func read[T any](ctx context.Context, l *Ledger, what, sql string, args ...any) ([]T, error) {
	var out []T
	err := l.call(ctx, what, func(ctx context.Context) error {
		rows, err := l.pool.Query(ctx, l.sql(sql), args...)
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, pgx.RowToStructByName[T])
		return err
	})
	return out, err
}
