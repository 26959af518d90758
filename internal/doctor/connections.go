package doctor

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/internal/libpq/controlplane"
)

// connections are the sessions of the ledger's server against the limit that leaves the fewest.
type connections struct {
	Limit  int    // sessions
	Source string // what sets the limit
	Others int    // sessions under the limit that are not this program's
	Hosts  int    // hosts with a session of this program under this login, at least 1
}

// readConnections reads the limits of the server, the login and the database. A limit below need comes
// before the others. Sessions of other logins show no type without pg_read_all_stats: all that have a
// login and a database count.
func readConnections(ctx context.Context, conn *pgx.Conn, need int32) (c connections, err error) {
	// The reserved connections exist from version 16 on, the limits of a login and a database are -1 if there is none.
	err = conn.QueryRow(ctx, `
WITH s AS (
  SELECT client_addr, usename = current_user AS login, datname = current_database() AS here,
         usename = current_user AND application_name LIKE 'pgcourier%' AS own
    FROM pg_catalog.pg_stat_activity
   WHERE usesysid IS NOT NULL AND datid IS NOT NULL AND coalesce(backend_type, 'client backend') = 'client backend')
SELECT l.most, l.source, l.others, (SELECT greatest(count(DISTINCT coalesce(client_addr::text, 'local')), 1) FROM s WHERE own)
  FROM (SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
               - coalesce(current_setting('reserved_connections', true)::int, 0) AS most, 'max_connections' AS source,
               (SELECT count(*) FROM s WHERE NOT own) AS others
        UNION ALL
        SELECT rolconnlimit, 'the login''s CONNECTION LIMIT', (SELECT count(*) FROM s WHERE login AND NOT own)
          FROM pg_catalog.pg_roles WHERE rolname = current_user AND rolconnlimit >= 0
        UNION ALL
        SELECT datconnlimit, 'the database''s CONNECTION LIMIT', (SELECT count(*) FROM s WHERE here AND NOT own)
          FROM pg_catalog.pg_database WHERE datname = current_database() AND datconnlimit >= 0) AS l
 ORDER BY l.most >= $1, l.most - l.others LIMIT 1`, need).Scan(&c.Limit, &c.Source, &c.Others, &c.Hosts)
	return c, err
}

// checkConnections compares the connections that the processes may open to the ledger with the ones
// that the server gives to the login. It assumes one process like this for each host that has a session.
func (x *examiner) checkConnections(ctx context.Context, conn *pgx.Conn, r *Report) {
	const check, fix = "connections", "raise this limit, or set a smaller pool: pool_max_conns in " + databaseURL
	need, err := controlplane.PoolSize(x.Settings.DatabaseURL, x.Settings.LedgerCalls())
	var c connections
	if err == nil {
		c, err = readConnections(ctx, conn, need)
	}
	if err != nil {
		r.Add(check, databaseFinding(err))
		return
	}
	all := int(need) * c.Hosts
	found := fmt.Sprintf("a process opens up to %d connections to the ledger, %d processes %d; other sessions under the tightest limit: %d; %s gives this login %d",
		need, c.Hosts, all, c.Others, c.Source, c.Limit)
	switch {
	case int(need) > c.Limit:
		r.Add(check, Finding{State: Fault, Found: found, Fix: fix})
	case all+c.Others > c.Limit:
		r.Add(check, Finding{State: Warning, Found: found, Fix: fix})
	default:
		r.OK(check, "%s", found)
	}
}
