package main

import (
	"fmt"
	"strconv"

	"github.com/pgcourier/pgcourier/events"
)

// tenant is one project with its schema in the source.
type tenant struct {
	project string
	rows    int
}

const (
	largeProject  = "large"
	slowProject   = "slow"
	lockedProject = "small-4" // some faults lock its table
	badProject    = "small-5" // some faults break its password

	// slowRate is in KB/s. It makes the slow project's dump of about 15 MB last three seconds, long
	// enough to act in its middle.
	slowRate = 5000
)

func tenants() []tenant {
	all := []tenant{{largeProject, 25_000}, {slowProject, 60_000}}
	for n := range 6 {
		all = append(all, tenant{fmt.Sprintf("small-%d", n), 200 + 100*n})
	}
	return all
}

func (t tenant) schema() string { return "tenant_" + t.project }

// script returns the statements for the tenant's tables: keys, a sequence, jsonb, nulls, texts that
// look like COPY's own syntax, a partitioned table and a view.
func (t tenant) script() string {
	return fmt.Sprintf(`
CREATE SCHEMA %[1]q;
SET search_path = %[1]q;
CREATE TABLE customers (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL, profile jsonb);
CREATE TABLE orders (id bigint PRIMARY KEY, customer bigint NOT NULL REFERENCES customers, note text, raw bytea);
CREATE TABLE events (id bigint NOT NULL, day int NOT NULL, payload text, PRIMARY KEY (id, day)) PARTITION BY LIST (day);
CREATE TABLE events_even PARTITION OF events FOR VALUES IN (0, 2, 4, 6);
CREATE TABLE events_odd PARTITION OF events DEFAULT;
CREATE TABLE empty (id int);
CREATE VIEW busy AS SELECT customer, count(*) FROM orders GROUP BY customer;
INSERT INTO customers (name, profile) SELECT 'Grüße ' || n, jsonb_build_object('n', n, 'hash', md5(n::text)) FROM generate_series(1, 50) AS n;
INSERT INTO orders SELECT n, 1 + n %% 50, CASE n %% 3 WHEN 0 THEN NULL WHEN 1 THEN '\.' ELSE E'a\tb\nc' END, decode(md5(n::text), 'hex')
	FROM generate_series(1, %[2]d) AS n;
INSERT INTO events SELECT n, n %% 7, repeat(md5((n * 31)::text), 6) FROM generate_series(1, %[2]d) AS n;
RESET search_path;`, t.schema(), t.rows)
}

// job is one request of a fault's load.
type job struct {
	events.Requested
	bare bool // published on the event's bare name
}

// load returns n requests: most of them small, some large, some slow; all formats and compressions;
// every fifth as from a gateway that knows only the event's name.
func load(prefix string, n int) []job {
	formats := []events.Format{events.FormatSQL, events.FormatTar, events.FormatCustom}
	compressions := []events.Compression{events.CompressionGzip, events.CompressionZstd, events.CompressionNone}
	jobs := make([]job, n)
	for i := range jobs {
		project := fmt.Sprintf("small-%d", i%6)
		switch i % 8 {
		case 1:
			project = slowProject
		case 3:
			project = largeProject
		}
		jobs[i] = job{bare: i%5 == 4, Requested: events.Requested{
			ProjectID: project, RequestID: fmt.Sprintf("%s-%d", prefix, i),
			Format: formats[i%3], Compression: compressions[i/3%3], Metadata: map[string]string{"number": strconv.Itoa(i)},
		}}
	}
	return jobs
}
