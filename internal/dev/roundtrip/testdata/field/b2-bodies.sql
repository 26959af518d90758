-- what: bodies of functions as text that name other schemas and an extension's functions, and an index on one
-- warning: bodies of functions call what these extensions hold: unaccent in schema public
-- warning: bodies of functions name other schemas, where nothing was looked for: other
-- restore: => refused unaccent
-- restore: create-extensions target => ok
-- verify: unchecked needs what this server does not have
CREATE EXTENSION unaccent;
CREATE SCHEMA other;
CREATE FUNCTION other.same(text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT $1';
CREATE SCHEMA app;
CREATE TABLE app.t (name text);
INSERT INTO app.t VALUES ('Zoë');
CREATE FUNCTION app.plain(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN public.unaccent('public.unaccent', upper(other.same($1))); END $$;
CREATE INDEX ON app.t (app.plain(name));
-- [target]
CREATE SCHEMA other;
CREATE FUNCTION other.same(text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT $1';
-- [want]
SELECT app.plain('Zoë') = 'ZOE'
