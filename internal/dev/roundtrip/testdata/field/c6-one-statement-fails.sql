-- what: a table whose type the target does not have, and what depends on it, among much that can be restored
-- formats: sql tar custom directory
-- warning: extensions are needed and left out: citext in schema public
-- restore: => refused citext
-- restore: keep-going => incomplete
-- restore: keep-going no-transaction => incomplete table app.emails is missing
-- restore: target keep-going => ok
-- restore: no-transaction create-extensions => ok
-- restore: keep-going clean create-extensions => ok
CREATE EXTENSION citext SCHEMA public;
CREATE SCHEMA app;
CREATE TABLE app.t (i int PRIMARY KEY, s text);
INSERT INTO app.t VALUES (1, E'a;\t\\.\nb'), (2, '\! touch'), (3, NULL), (4, 'DROP TABLE app.t;');
CREATE TABLE app.emails (e public.citext);
INSERT INTO app.emails VALUES ('\.'), ('DROP TABLE app.t;'), ('\! false');
CREATE FUNCTION app.twice(i int) RETURNS int LANGUAGE sql IMMUTABLE BEGIN ATOMIC SELECT i; SELECT 2 * i; END;
CREATE FUNCTION app.say() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN ';'; END $$;
CREATE MATERIALIZED VIEW app.twofold AS SELECT app.twice(i) AS d FROM app.t;
CREATE RULE r AS ON DELETE TO app.t DO ALSO (SELECT 1; SELECT 2);
CREATE VIEW app.v AS SELECT e FROM app.emails;
-- [target]
CREATE EXTENSION citext SCHEMA public;
-- [want]
SELECT (SELECT count(*) FROM app.t) = 4 AND (SELECT sum(d) FROM app.twofold) = 20 AND app.say() = ';'
   AND (SELECT s FROM app.t WHERE i = 2) = '\! touch'
