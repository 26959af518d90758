CREATE SCHEMA s;
CREATE SCHEMA other;
CREATE SCHEMA "Ten*ant ""x""";
CREATE TABLE "Ten*ant ""x""".own AS SELECT generate_series(1, 5) AS a;

CREATE TABLE s.plain AS SELECT i AS a, 'text' AS b FROM generate_series(1, 1000) i;
CREATE TABLE s.empty (a int);
CREATE TABLE s.zero ();
INSERT INTO s.zero DEFAULT VALUES;
INSERT INTO s.zero DEFAULT VALUES;
CREATE TABLE s.generated (a int, b int GENERATED ALWAYS AS (a * 2) STORED);
INSERT INTO s.generated VALUES (1), (2);
CREATE TABLE s."all generated" (b int GENERATED ALWAYS AS (2) STORED);
INSERT INTO s."all generated" DEFAULT VALUES;
CREATE TABLE s.identity (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, t text);
INSERT INTO s.identity (t) VALUES ('a'), (E'line\nbreak \\. tab\t');
CREATE TABLE s.wide (t text, j jsonb, b bytea, n numeric[]);
INSERT INTO s.wide VALUES (E'\\.', '{"a": [1, "\\n"]}', '\x00ff0a', '{1,NULL}'), ('', NULL, '', '{}'),
  (repeat(E'x\n', 100000), NULL, NULL, NULL);
CREATE TABLE s."Odd ""name"" \ ☃" (a int);
INSERT INTO s."Odd ""name"" \ ☃" VALUES (1);

-- Partitions: hash on an enum is loaded through the root, others are not.
CREATE TYPE s.kind AS ENUM ('a', 'b', 'c');
CREATE TABLE s.hash (k s.kind, v int) PARTITION BY HASH (k);
CREATE TABLE s."hash 0" PARTITION OF s.hash FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE s."hash 1" PARTITION OF s.hash FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO s.hash SELECT k::s.kind, i FROM unnest('{a,b,c}'::text[]) k, generate_series(1, 4) i;
CREATE TABLE s.range (a int) PARTITION BY RANGE (a);
CREATE TABLE s.range_1 PARTITION OF s.range FOR VALUES FROM (0) TO (10);
CREATE TABLE other.range_2 PARTITION OF s.range FOR VALUES FROM (10) TO (20);
INSERT INTO s.range VALUES (1), (2), (3), (11);
CREATE TABLE other.range (a int) PARTITION BY RANGE (a);
CREATE TABLE s.stray_partition PARTITION OF other.range FOR VALUES FROM (0) TO (10);
INSERT INTO other.range VALUES (1);
CREATE TABLE s.parent (a int);
CREATE TABLE s.child (b int) INHERITS (s.parent);
INSERT INTO s.parent VALUES (1);
INSERT INTO s.child VALUES (1, 1), (2, 2);
CREATE UNLOGGED TABLE s.unlogged AS SELECT 1 AS a;

-- What has no rows in a dump.
CREATE VIEW s.view AS SELECT * FROM s.plain;
CREATE MATERIALIZED VIEW s.materialized AS SELECT * FROM s.plain;
CREATE SEQUENCE s.sequence;
CREATE FOREIGN DATA WRAPPER fdw;
CREATE SERVER nowhere FOREIGN DATA WRAPPER fdw;
CREATE FOREIGN TABLE s.foreign (a int) SERVER nowhere;
SELECT lo_create(0);

-- An extension's tables: its configuration is dumped, in part or whole, the rest is not.
CREATE TABLE s."of the extension" AS SELECT 1 AS a;
CREATE TABLE s.configuration AS SELECT generate_series(1, 3) AS a;
CREATE TABLE s."all configuration" AS SELECT generate_series(1, 3) AS a;
ALTER EXTENSION plpgsql ADD TABLE s."of the extension";
ALTER EXTENSION plpgsql ADD TABLE s.configuration;
ALTER EXTENSION plpgsql ADD TABLE s."all configuration";
UPDATE pg_extension SET extcondition = ARRAY['WHERE a > 1', ''],
  extconfig = ARRAY['s.configuration'::regclass::oid, 's."all configuration"'::regclass::oid]
 WHERE extname = 'plpgsql';

-- What lies elsewhere and is needed.
CREATE FUNCTION other.f() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION other.g() RETURNS int LANGUAGE sql AS 'SELECT 1';
ALTER EXTENSION plpgsql ADD FUNCTION other.g();
CREATE TYPE other.mood AS ENUM ('well');
CREATE TABLE other.base (id int PRIMARY KEY);
INSERT INTO other.base VALUES (1);
CREATE TABLE s.needy (a int DEFAULT other.f() REFERENCES other.base, m other.mood, g int DEFAULT other.g());
INSERT INTO s.needy VALUES (1, 'well');
