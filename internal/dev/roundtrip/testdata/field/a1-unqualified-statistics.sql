-- what: extended statistics on a function with an unqualified name, which cannot be planned under an empty search_path
-- restore: => ok
-- restore: no-transaction => ok
-- restore: keep-going => ok
-- restore: jobs => ok
CREATE SCHEMA app;
SET search_path = app;
CREATE FUNCTION helper(integer) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT $1 + 1';
CREATE FUNCTION live(integer) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT helper($1)';
CREATE TABLE t (i integer, j integer);
INSERT INTO t SELECT g, g FROM generate_series(1, 10) g;
CREATE STATISTICS s ON (live(i)), j FROM t;
CREATE TABLE u (i integer);
INSERT INTO u VALUES (1);

-- [want]
SELECT (SELECT count(*) FROM app.u) = 1 AND (SELECT count(*) FROM pg_statistic_ext) = 1
