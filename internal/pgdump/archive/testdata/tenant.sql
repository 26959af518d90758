-- One of each kind of object that lies in a schema, whose quoted name stands for the word in capitals.
CREATE SCHEMA TENANT;
COMMENT ON SCHEMA TENANT IS 'a schema''s comment
-- on two lines';
GRANT USAGE ON SCHEMA TENANT TO reader;
ALTER DEFAULT PRIVILEGES IN SCHEMA TENANT GRANT SELECT ON TABLES TO reader;
SET search_path = TENANT;

CREATE TYPE mood AS ENUM ('sad', 'it''s ok', '\.');
CREATE TYPE address AS (street text, "house no" int);
CREATE TYPE span AS RANGE (subtype = float8);
CREATE DOMAIN positive AS numeric CONSTRAINT above_zero CHECK (VALUE > 0);
CREATE COLLATION bytewise (locale = 'C');
COMMENT ON TYPE mood IS 'how it feels';
COMMENT ON CONSTRAINT above_zero ON DOMAIN positive IS 'above';

CREATE FUNCTION twice(n int) RETURNS int LANGUAGE sql IMMUTABLE RETURN n * 2;
CREATE FUNCTION label(m mood) RETURNS text LANGUAGE plpgsql AS $fn$
BEGIN
-- COPY t (a) FROM stdin;
RETURN '\.';
END
$fn$;
COMMENT ON FUNCTION label(mood) IS 'shouts';
GRANT EXECUTE ON FUNCTION label(mood) TO reader;
CREATE PROCEDURE nothing(INOUT n int DEFAULT 1) LANGUAGE plpgsql AS 'BEGIN n := n + 1; END';
CREATE AGGREGATE total(int) (SFUNC = int4pl, STYPE = int, INITCOND = '0');
CREATE FUNCTION near(float8, float8) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT abs($1 - $2) < 1';
CREATE OPERATOR ~=~ (LEFTARG = float8, RIGHTARG = float8, FUNCTION = near);
CREATE TEXT SEARCH DICTIONARY plain (TEMPLATE = simple);
CREATE TEXT SEARCH CONFIGURATION words (COPY = simple);

CREATE SEQUENCE odd INCREMENT 2 START 7;
SELECT nextval('odd');
CREATE TABLE things (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    serial_no serial,
    odd int DEFAULT nextval('odd'),
    feeling mood,
    amount positive,
    doubled numeric GENERATED ALWAYS AS (amount * 2) STORED,
    home address,
    name text COLLATE bytewise,
    CONSTRAINT odd_is_odd CHECK (odd % 2 <> 0)
);
COMMENT ON TABLE things IS 'things';
COMMENT ON COLUMN things.name IS 'a name';
COMMENT ON CONSTRAINT odd_is_odd ON things IS 'odd';
GRANT SELECT (name), UPDATE (name) ON things TO reader;
INSERT INTO things (feeling, amount, home, name)
    SELECT 'sad', n, ROW('Street "' || n, n)::address, CASE n % 3 WHEN 0 THEN '\.' WHEN 1 THEN E'tab\tnew\nline\\' END FROM generate_series(1, 50) n;
CREATE TABLE "an odd ""name"" \ ☃
-- and a line" (a int);
INSERT INTO "an odd ""name"" \ ☃
-- and a line" VALUES (1), (2);
CREATE TABLE empty_table (a int);
CREATE TABLE no_columns ();
INSERT INTO no_columns SELECT FROM generate_series(1, 3);
CREATE UNLOGGED TABLE unlogged (n int);
CREATE TABLE parent (id int);
CREATE TABLE child (extra jsonb) INHERITS (parent);
INSERT INTO child VALUES (2, '{}');

CREATE TABLE measures (at date NOT NULL, device int NOT NULL, v float8, PRIMARY KEY (at, device)) PARTITION BY RANGE (at);
CREATE TABLE measures_1 PARTITION OF measures FOR VALUES FROM ('2026-01-01') TO ('2026-02-01') PARTITION BY HASH (device);
CREATE TABLE measures_1_0 PARTITION OF measures_1 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE measures_1_1 PARTITION OF measures_1 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE measures_rest PARTITION OF measures DEFAULT;
INSERT INTO measures SELECT date '2026-01-01' + n, n % 7, n FROM generate_series(1, 90) n;
CREATE TABLE by_mood (m mood, v int) PARTITION BY HASH (m);
CREATE TABLE by_mood_0 PARTITION OF by_mood FOR VALUES WITH (MODULUS 1, REMAINDER 0);
INSERT INTO by_mood VALUES ('sad', 1);

CREATE TABLE lines (thing bigint REFERENCES things ON DELETE CASCADE, n int, PRIMARY KEY (thing, n));
INSERT INTO lines SELECT id, 1 FROM things;
CREATE TABLE bookings (during tsrange, EXCLUDE USING gist (during WITH &&));
CREATE INDEX lower_name ON things (lower(name)) WHERE id > 0;
COMMENT ON INDEX lower_name IS 'an index';
ALTER TABLE things CLUSTER ON things_pkey;
ALTER TABLE lines REPLICA IDENTITY USING INDEX lines_pkey;
CREATE STATISTICS lines_statistics (dependencies, ndistinct) ON thing, n FROM lines;
COMMENT ON STATISTICS lines_statistics IS 'statistics';

CREATE VIEW all_things AS SELECT id, name FROM things WITH CHECK OPTION;
CREATE VIEW grouped AS SELECT id, name, count(*) FROM things GROUP BY id; -- needs its primary key
CREATE MATERIALIZED VIEW counted AS SELECT count(*) AS n FROM things;
CREATE UNIQUE INDEX ON counted (n);
CREATE RULE no_delete AS ON DELETE TO empty_table DO INSTEAD NOTHING;
COMMENT ON RULE no_delete ON empty_table IS 'a rule';
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER touched BEFORE UPDATE ON things FOR EACH ROW EXECUTE FUNCTION touch();
COMMENT ON TRIGGER touched ON things IS 'a trigger';
ALTER TABLE things DISABLE TRIGGER touched;
CREATE TABLE secrets (owner text);
ALTER TABLE secrets ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_rows ON secrets USING (owner = current_user);
COMMENT ON POLICY own_rows ON secrets IS 'mine';
GRANT SELECT ON secrets TO reader;
CREATE FUNCTION is_owner(s secrets) RETURNS bool LANGUAGE sql AS 'SELECT true';
CREATE TABLE large_rows (big text);
INSERT INTO large_rows SELECT string_agg(md5((n * 1000 + m)::text), E'\n\\.') FROM generate_series(1, 3) n, generate_series(1, 3000) m GROUP BY n;
RESET search_path;
