package doctor

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgcourier/pgcourier/internal/libpq/controlplane"
)

// checkConnections compares the connections that the processes may open to the ledger with the ones
// that the server gives to the login. It assumes one process like this for each host that has a session.
func (x *examiner) checkConnections(ctx context.Context, conn *pgxpool.Conn, r *Report) {
	const check, fix = "connections", "raise max_connections or the login's CONNECTION LIMIT, or set a smaller pool: pool_max_conns in " + databaseURL
	need, err := controlplane.PoolSize(x.Settings.DatabaseURL, x.Settings.LedgerCalls())
	var limit, hosts, others int
	if err == nil {
		// The settings exist from version 16 on, the limits of a login and a database are -1 if there is none.
		err = conn.QueryRow(ctx, `
SELECT least(current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
             - coalesce(current_setting('reserved_connections', true)::int, 0),
           (SELECT nullif(rolconnlimit, -1) FROM pg_catalog.pg_roles WHERE rolname = current_user),
           (SELECT nullif(datconnlimit, -1) FROM pg_catalog.pg_database WHERE datname = current_database())),
       count(DISTINCT coalesce(client_addr::text, 'local')) FILTER (WHERE own),
       count(*) FILTER (WHERE NOT own)
  FROM (SELECT client_addr, usename = current_user AND application_name LIKE 'pgcourier%' AS own
          FROM pg_catalog.pg_stat_activity WHERE backend_type = 'client backend') AS s`).Scan(&limit, &hosts, &others)
	}
	if err != nil {
		r.Add(check, databaseFinding(err))
		return
	}
	hosts = max(hosts, 1)
	found := fmt.Sprintf("a process opens up to %d connections to the ledger, %d processes %d; other sessions: %d; the server gives this login %d",
		need, hosts, int(need)*hosts, others, limit)
	switch {
	case int(need) > limit:
		r.Add(check, Finding{State: Fault, Found: found, Fix: fix})
	case int(need)*hosts+others > limit:
		r.Add(check, Finding{State: Warning, Found: found, Fix: fix})
	default:
		r.OK(check, "%s", found)
	}
}
