package main

import (
	"context"
	"fmt"
)

// schemaOfWall holds the large project.
const schemaOfWall = "bench"

// Bytes that a row has in a plain dump, about; the shares of the three tables are 40, 30 and
// 30 percent.
const (
	accountRow  = 98
	documentRow = 430
	eventRow    = 290
)

// loadLarge makes a database with one schema and a plain dump of about so many bytes:
// pgbench's largest table as pgbench -i fills it, prose, and jsonb. The prose is put
// together from 4,096 sentences, so that it compresses as text does and not as a repeated
// line does.
func (l *lab) loadLarge(ctx context.Context, database string, size int64) error {
	if err := l.execute(ctx, "postgres", "CREATE DATABASE "+database); err != nil {
		return err
	}
	return l.execute(ctx, database, fmt.Sprintf(`
BEGIN;
CREATE SCHEMA %[1]s;
SET LOCAL search_path = %[1]s;
CREATE TABLE pgbench_accounts (aid int NOT NULL, bid int, abalance int, filler char(84));
INSERT INTO pgbench_accounts SELECT n, 1 + n / 100000, 0, '' FROM generate_series(1, %[2]d) AS n;
ALTER TABLE pgbench_accounts ADD PRIMARY KEY (aid);
CREATE TEMPORARY TABLE words ON COMMIT DROP AS SELECT string_to_array('the of and account export of a to in schema each tenant is was it for order with
 customer as his on be at by payment which from this had not are but delivery have an they invoice one you were her all there would their we warehouse him been
 has when who will more no if out berlin lagos osaka quito so said what up its about into than them can only other new some could time these two may then do',
 ' ') AS w;
SELECT setseed(0.42);
CREATE TEMPORARY TABLE sentences ON COMMIT DROP AS
	SELECT i - 1 AS n, string_agg(w[1 + floor(random() * array_length(w, 1))::int], ' ') || '. ' AS s FROM generate_series(1, 4096) AS i, generate_series(1, 14), words GROUP BY i;
ANALYZE sentences;
CREATE TABLE documents AS SELECT i::bigint AS id, md5(i::text) AS title, timestamptz '2026-01-01' + i * interval '37 seconds' AS written, a.s || b.s || c.s || d.s || e.s AS body
	FROM generate_series(1, %[3]d) AS i JOIN sentences a ON a.n = hashint4(i) & 4095 JOIN sentences b ON b.n = hashint4(i * 3) & 4095
	JOIN sentences c ON c.n = hashint4(i * 5) & 4095 JOIN sentences d ON d.n = hashint4(i * 7) & 4095 JOIN sentences e ON e.n = hashint4(i * 11) & 4095;
ALTER TABLE documents ADD PRIMARY KEY (id);
CREATE TABLE events AS SELECT n::bigint AS id, jsonb_build_object('id', md5(n::text), 'kind', (ARRAY['order', 'payment', 'refund', 'login', 'delivery'])[1 + n %% 5],
	'customer', hashint4(n) & 65535, 'at', timestamptz '2026-01-01' + n * interval '11 seconds', 'amount', (hashint4(n * 13) & 1048575) / 100.0,
	'tags', jsonb_build_array('web', 'eu-' || n %% 7, NULL), 'seen', n %% 3 = 0, 'agent', 'Mozilla/5.0 (X11; Linux x86_64) build/' || (hashint4(n) & 255)) AS doc
	FROM generate_series(1, %[4]d) AS n;
ALTER TABLE events ADD PRIMARY KEY (id);
COMMIT;`, schemaOfWall, size*4/10/accountRow, size*3/10/documentRow, size*3/10/eventRow), "VACUUM (ANALYZE)")
}
