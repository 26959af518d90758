-- what: what a login that is no superuser may not make: policies to a named role, a materialized view over forced policies, LEAKPROOF, an operator class, a function with a superuser's setting
-- formats: sql custom directory
-- warning: roles are named in policies and left out: c7_reader
-- restore: => ok
CREATE ROLE c7_reader;
CREATE SCHEMA app;
CREATE TABLE app.t (i int PRIMARY KEY, s text);
INSERT INTO app.t SELECT i, i::text FROM generate_series(1, 100) i;
CREATE MATERIALIZED VIEW app.mv AS SELECT count(*) AS n FROM app.t;
ALTER TABLE app.t ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.t FORCE ROW LEVEL SECURITY;
CREATE POLICY p ON app.t TO c7_reader USING (i > 0);
CREATE FUNCTION app.leak(a text DEFAULT '
    LANGUAGE sql LEAKPROOF') RETURNS text LANGUAGE sql IMMUTABLE LEAKPROOF AS $$ SELECT lower(a) $$;
CREATE INDEX leaking ON app.t (app.leak(s));
CREATE FUNCTION app.quiet() RETURNS void LANGUAGE plpgsql SET session_replication_role = replica AS 'BEGIN END';
CREATE FUNCTION app.compare(int, int) RETURNS int LANGUAGE sql IMMUTABLE STRICT AS 'SELECT btint4cmp($2, $1)';
CREATE OPERATOR CLASS app.reverse FOR TYPE int USING btree AS
  OPERATOR 1 >, OPERATOR 2 >=, OPERATOR 3 =, OPERATOR 4 <=, OPERATOR 5 <, FUNCTION 1 app.compare(int, int);
CREATE INDEX reversed ON app.t (i app.reverse);
-- [want]
SELECT (SELECT n FROM app.mv) = 100 AND to_regclass('app.reversed') IS NOT NULL AND (SELECT proleakproof FROM pg_proc WHERE proname = 'leak')
