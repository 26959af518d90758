-- what: a transform of the project's type, which no schema holds
-- warning: transforms belong to no schema and are left out: FOR app.mood LANGUAGE sql
CREATE SCHEMA app;
CREATE TYPE app.mood AS ENUM ('sad', 'happy');
CREATE TRANSFORM FOR app.mood LANGUAGE sql (FROM SQL WITH FUNCTION prsd_lextype(internal));
CREATE TABLE app.t (m app.mood);
INSERT INTO app.t VALUES ('sad');
-- [want]
SELECT (SELECT count(*) FROM app.t) = 1 AND NOT EXISTS (SELECT FROM pg_transform WHERE oid >= 16384)
