package libpq_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgcourier/pgcourier/internal/libpq"
	"github.com/pgcourier/pgcourier/internal/secret"
)

func TestParseDSN(t *testing.T) {
	t.Parallel()
	for dsn, want := range map[string]map[string]string{
		"postgres://u:p@h:1/d":                            {"user": "u", "password": "p", "host": "h", "port": "1", "dbname": "d"},
		"postgresql://u@h1:1,[::1]:2,h3/d":                {"user": "u", "host": "h1,::1,h3", "port": "1,2,", "dbname": "d"},
		"postgres://u:p%40%3A%2F@h/a%3Db":                 {"user": "u", "password": "p@:/", "host": "h", "dbname": "a=b"},
		"postgres://u@/d?host=/var/run&port=5":            {"user": "u", "host": "/var/run", "port": "5", "dbname": "d"},
		"postgres://u@h?sslmode=verify-full&options=-cx":  {"user": "u", "host": "h", "sslmode": "verify-full", "options": "-cx"},
		"postgres://h?ssl=true":                           {"host": "h", "sslmode": "require"},
		`user = u password='it\'s \\' dbname=d host=h\ x`: {"user": "u", "password": `it's \`, "dbname": "d", "host": "h x"},
		"database=d user='' port=1":                       {"dbname": "d", "port": "1"},
		"":                                                {},
	} {
		got, err := libpq.ParseDSN(dsn)
		if err != nil || !maps.Equal(got, want) {
			t.Errorf("%s = %v, %v; want %v", dsn, got, err, want)
		}
	}
	for _, dsn := range []string{
		"postgres://u:p ss@h/d", "postgres://0\f@", "postgres://u@h/d\n",
		"postgres://u:p@ss@h/d", "postgres://@@", // which of the two ends the login is disputed
		"host", "host=h secret", "password='open", "postgres://[::1/d", "postgres://u%zz@h/d", "postgres://h?a", "a\x00=b", "a=\xff",
	} {
		if got, err := libpq.ParseDSN(dsn); err == nil {
			t.Errorf("%q = %v, want an error", dsn, got)
		} else if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "open") {
			t.Errorf("the error quotes the string: %v", err)
		}
	}
}

func TestSource(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		dsn   secret.String
		hosts []string
		env   []string // some of it
		fails bool
	}{
		"defaults": {dsn: "user=u host=h", hosts: []string{"h 5432"}, env: []string{
			"PGHOST=h", "PGPORT=5432", "PGUSER=u", "PGDATABASE=u", "PGSSLMODE=prefer", "PGCONNECT_TIMEOUT=10",
			"PGOPTIONS=-c enable_mergejoin=off", "LC_ALL=C", "HOME=/nonexistent",
		}},
		"no host is the local socket": {dsn: "user=u", hosts: []string{"/var/run/postgresql 5432"}},
		"one port for all":            {dsn: "user=u host=a,b port=6", hosts: []string{"a 6", "b 6"}},
		"ports in order":              {dsn: "postgres://u@a:1,b,c:3/d", hosts: []string{"a 1", "b 5432", "c 3"}},
		"options are left out":        {dsn: "user=u host=h options='-c role=x' search_path=evil", hosts: []string{"h 5432"}, env: []string{"PGOPTIONS=-c enable_mergejoin=off"}},
		"harmless GSS":                {dsn: "user=u host=h gssencmode=prefer", hosts: []string{"h 5432"}, env: []string{"PGGSSENCMODE=disable"}},
		"database like a DSN":         {dsn: "user=u host=h dbname='host=evil'", hosts: []string{"h 5432"}, env: []string{"PGDATABASE=host=evil"}},
		"empty":                       {dsn: "", fails: true},
		"no user":                     {dsn: "host=h", fails: true},
		"service":                     {dsn: "user=u service=x", fails: true},
		"hostaddr":                    {dsn: "user=u hostaddr=1.2.3.4", fails: true},
		"misspelt sslmode":            {dsn: "user=u host=h sslmod=verify-full", fails: true},
		"unknown sslmode":             {dsn: "user=u host=h sslmode=surely", fails: true},
		"sslpassword":                 {dsn: "user=u host=h sslpassword=x", fails: true},
		"Kerberos":                    {dsn: "user=u host=h krbsrvname=x", fails: true},
		"GSS encryption":              {dsn: "user=u host=h gssencmode=require", fails: true},
		"missing certificate":         {dsn: "user=u host=h sslmode=verify-full sslrootcert=/nonexistent", fails: true},
		"line break in the password":  {dsn: "user=u host=h password='a\nb'", fails: true},
		"bad port":                    {dsn: "user=u host=h port=0", fails: true},
		"too few ports":               {dsn: "user=u host=a,b,c port=1,2", fails: true},
		"bad target":                  {dsn: "user=u host=h target_session_attrs=best", fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hosts, env, err := libpq.Told(c.dsn)
			if (err != nil) != c.fails {
				t.Fatalf("error = %v, want one: %t", err, c.fails)
			}
			if !slices.Equal(hosts, c.hosts) {
				t.Errorf("hosts = %q, want %q", hosts, c.hosts)
			}
			for _, v := range c.env {
				if !slices.Contains(env, v) {
					t.Errorf("environment = %q, want %q in it", env, v)
				}
			}
		})
	}
}

// The worker's own environment must not affect a dump.
func TestSourceTakesNothingFromTheEnvironment(t *testing.T) {
	for _, v := range []string{"PGHOST", "PGUSER", "PGDATABASE", "PGPASSWORD", "PGOPTIONS", "PGTZ", "PGPASSFILE", "PGSSLROOTCERT"} {
		t.Setenv(v, "/nonexistent/from-the-environment")
	}
	t.Setenv("PGSSLMODE", "disable")
	hosts, env, err := libpq.Told("user=u host=h")
	if err != nil || !slices.Equal(hosts, []string{"h 5432"}) {
		t.Errorf("hosts = %q, %v", hosts, err)
	}
	for _, v := range env {
		if strings.Contains(v, "from-the-environment") || v == "PGSSLMODE=disable" {
			t.Errorf("%s is in the environment of a tool", v)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, dsn := range []string{
		"postgres://u:p@h:1/d?sslmode=disable", "postgresql://u@a:1,b:2/d", "user=u password='x y' host=h", `a=\'`,
		"postgres://[::1]:5/d", "user=u host=a,b port=1,2", "postgres://u:a%3Ab@h", "ssl=true", "postgres://?", "=",
	} {
		f.Add(dsn)
	}
	f.Fuzz(func(t *testing.T, dsn string) {
		given, err := libpq.ParseDSN(dsn)
		if err != nil {
			return
		}
		hosts, env, err := libpq.Told(secret.String(dsn))
		if err != nil {
			return
		}
		for _, v := range env {
			name, value, _ := strings.Cut(v, "=")
			if strings.IndexByte(v, 0) >= 0 {
				t.Fatalf("NUL in %q", v)
			}
			if name == "PGHOST" && value != strings.Fields(hosts[0] + " ")[0] && !strings.HasPrefix(hosts[0], value+" ") {
				t.Fatalf("PGHOST=%q for %q", value, hosts[0])
			}
		}
		// If pgx accepts the same string, it must find the same login: otherwise one DSN would name
		// two different logins.
		theirs, err := pgconn.ParseConfig(dsn)
		if err != nil || strings.Contains(dsn, "+") { // a plus sign is a space to net/url
			return
		}
		if theirs.User != given["user"] || (given["dbname"] != "" && theirs.Database != given["dbname"]) || theirs.Password != given["password"] {
			t.Fatalf("%q: ours %q, theirs user=%q dbname=%q password=%q", dsn, given, theirs.User, theirs.Database, theirs.Password)
		}
	})
}
