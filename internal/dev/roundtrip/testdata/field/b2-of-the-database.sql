-- what: what belongs to the project and to the database: an event trigger, a member of a family elsewhere, statistics elsewhere, publications
-- warning: what these schemas add to operator families elsewhere is left out: operator 2 (integer, app.mood) of pg_catalog.integer_ops USING btree
-- warning: event triggers belong to the database and are left out: watch
-- warning: extended statistics in other schemas are left out: other.st
-- warning: publications are left out: app.t in publication feed
CREATE SCHEMA app;
CREATE SCHEMA other;
CREATE TABLE app.t (a int PRIMARY KEY, b int);
CREATE STATISTICS other.st ON a, b FROM app.t;
CREATE TYPE app.mood AS ENUM ('sad');
CREATE FUNCTION app.below(int, app.mood) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT false';
CREATE OPERATOR app.<<< (LEFTARG = int, RIGHTARG = app.mood, FUNCTION = app.below);
ALTER OPERATOR FAMILY integer_ops USING btree ADD OPERATOR 2 app.<<< (int, app.mood);
CREATE FUNCTION app.watch() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
CREATE EVENT TRIGGER watch ON sql_drop EXECUTE FUNCTION app.watch();
CREATE PUBLICATION feed FOR TABLE app.t;
-- [want]
SELECT NOT EXISTS (SELECT FROM pg_event_trigger) AND NOT EXISTS (SELECT FROM pg_publication)
