-- what: tables and an index in a tablespace that the target's server does not have
-- formats: sql tar custom directory
-- restore: => ok
-- restore: jobs => ok
SET allow_in_place_tablespaces = on;
CREATE TABLESPACE elsewhere LOCATION '';
CREATE SCHEMA app;
CREATE TABLE app.t (i int PRIMARY KEY USING INDEX TABLESPACE elsewhere) TABLESPACE elsewhere;
INSERT INTO app.t VALUES (1);
-- [want]
SELECT (SELECT count(*) FROM app.t) = 1 AND NOT EXISTS (SELECT FROM pg_class WHERE relname IN ('t', 't_pkey') AND reltablespace <> 0)
