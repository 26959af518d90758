-- what: casts of the schema's types, which no schema holds, and a view that needs them
-- formats: sql custom directory
-- warning: casts belong to no schema and are left out: CREATE CAST (app.mood AS integer) WITH FUNCTION app.mood_number(app.mood) AS IMPLICIT, CREATE CAST (app.mood AS text) WITH INOUT AS ASSIGNMENT
-- restore: => ok
-- restore: no-transaction => ok
-- restore: keep-going => ok
CREATE SCHEMA app;
CREATE TYPE app.mood AS ENUM ('sad', 'happy');
CREATE FUNCTION app.mood_number(app.mood) RETURNS int LANGUAGE sql IMMUTABLE AS $$ SELECT length($1::text) $$;
CREATE CAST (app.mood AS int) WITH FUNCTION app.mood_number(app.mood) AS IMPLICIT;
CREATE CAST (app.mood AS text) WITH INOUT AS ASSIGNMENT;
CREATE TABLE app.t (m app.mood);
INSERT INTO app.t VALUES ('sad'), ('happy');
CREATE VIEW app.v AS SELECT m::int + 1 AS n FROM app.t;
-- [want]
SELECT (SELECT sum(n) FROM app.v) = 10 AND (SELECT count(*) FROM pg_cast WHERE oid >= 16384) = 2
