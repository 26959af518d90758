-- what: what would lead a rehearsal's server astray: an operator class with functions for another type, a domain whose check is executed while a function is made
-- verify: unchecked CREATE OPERATOR CLASS app.astray
CREATE SCHEMA app;
CREATE TABLE app.t (s text);
CREATE OPERATOR CLASS app.astray FOR TYPE text USING btree AS
  OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 (text, text) btint8cmp(int8, int8);
CREATE INDEX astray ON app.t (s app.astray);
CREATE FUNCTION app.no_superuser(text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN
  IF current_database() LIKE 'pgcourier_scratch%' AND current_setting('is_superuser')::bool THEN RAISE 'executed by a superuser'; END IF;
  RETURN true; END $$;
CREATE DOMAIN app.guarded AS text CHECK (app.no_superuser(VALUE));
CREATE TYPE app.pair AS (a app.guarded);
CREATE FUNCTION app.f(p app.pair DEFAULT '(x)') RETURNS app.pair LANGUAGE sql LEAKPROOF AS 'SELECT p';
-- [want]
SELECT (SELECT proleakproof FROM pg_proc WHERE proname = 'f')
