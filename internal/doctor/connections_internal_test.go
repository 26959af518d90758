package doctor

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/internal/dev/pgtest"
	"github.com/pgcourier/pgcourier/internal/pgcluster"
)

func TestOnlySessionsUnderTheSameLimitCount(t *testing.T) {
	t.Parallel()
	cluster := pgtest.Start(t, pgcluster.Config{InMemory: true, Settings: map[string]string{
		"max_connections": "40", "superuser_reserved_connections": "3",
	}})
	connect := func(url string) *pgx.Conn {
		c, err := pgx.Connect(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close(context.WithoutCancel(t.Context())) })
		return c
	}
	admin := connect(cluster.URL("postgres"))
	for _, sql := range []string{
		"CREATE ROLE limited LOGIN PASSWORD 'x' CONNECTION LIMIT 20", "CREATE ROLE other LOGIN PASSWORD 'x'",
	} {
		if _, err := admin.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	as := func(login string) string {
		c := admin.Config()
		return fmt.Sprintf("postgres://%s:x@%s:%d/postgres?application_name=pgcourier", login, c.Host, c.Port)
	}
	own := connect(as("limited")) // it may not see the others' sessions
	for range 9 {
		connect(as("other"))
	}
	for _, c := range []struct {
		need  int32
		limit string
		want  connections
	}{
		// 27 of 37 are left, and 20 of 20.
		{10, "", connections{Limit: 20, Others: 0, Hosts: 1, Source: "the login's CONNECTION LIMIT"}},
		// 17 of 37 remain for a login without a limit of its own.
		{10, "ALTER ROLE limited CONNECTION LIMIT -1", connections{Limit: 37, Others: 10, Hosts: 1, Source: "max_connections"}},
		// A limit that is below the need comes first.
		{35, "ALTER ROLE limited CONNECTION LIMIT 34", connections{Limit: 34, Others: 0, Hosts: 1, Source: "the login's CONNECTION LIMIT"}},
		{10, "ALTER DATABASE postgres CONNECTION LIMIT 15", connections{Limit: 15, Others: 10, Hosts: 1, Source: "the database's CONNECTION LIMIT"}},
	} {
		if c.limit != "" {
			if _, err := admin.Exec(t.Context(), c.limit); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := readConnections(t.Context(), own, c.need); err != nil || got != c.want {
			t.Errorf("after %q: %+v, %v, want %+v", c.limit, got, err, c.want)
		}
	}
}
