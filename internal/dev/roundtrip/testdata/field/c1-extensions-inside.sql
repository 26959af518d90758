-- what: a project's schema that holds extensions: pg_trgm and uuid-ossp, and citext as a column's array
-- schemas: app
-- formats: sql tar custom directory
-- warning: extensions are needed and left out: citext in schema app, pg_trgm in schema app, uuid-ossp in schema ext
-- restore: => refused uuid-ossp
-- restore: create-extensions => ok
-- restore: create-extensions jobs => ok
-- restore: target => ok
-- restore: target clean => ok
CREATE SCHEMA app;
CREATE SCHEMA ext;
CREATE EXTENSION pg_trgm SCHEMA app;
CREATE EXTENSION citext SCHEMA app;
CREATE EXTENSION "uuid-ossp" SCHEMA ext;
CREATE TABLE app.people (id uuid DEFAULT ext.uuid_generate_v4(), name text, also app.citext[]);
INSERT INTO app.people (name, also) VALUES ('Ada', '{a,B}');
CREATE INDEX people_name ON app.people USING gin (name app.gin_trgm_ops);
-- [target]
CREATE SCHEMA app;
CREATE SCHEMA ext;
CREATE EXTENSION pg_trgm SCHEMA app;
CREATE EXTENSION citext SCHEMA app;
CREATE EXTENSION "uuid-ossp" SCHEMA ext;
-- [want]
SELECT (SELECT also::text FROM app.people) = '{a,B}' AND to_regclass('app.people_name') IS NOT NULL
   AND (SELECT string_agg(extname || ' ' || extnamespace::regnamespace, ',' ORDER BY extname) FROM pg_extension WHERE extname <> 'plpgsql') = 'citext app,pg_trgm app,uuid-ossp ext'
