-- what: functions in C and of PostgreSQL's own, and what is made of them, which only a superuser may restore and no server should for a stranger
-- verify: unchecked CREATE FUNCTION app.measure(text) RETURNS integer LANGUAGE internal
-- uncounted: app.measured
CREATE SCHEMA app;
CREATE TABLE app.t (i int PRIMARY KEY, s text);
INSERT INTO app.t VALUES (1, 'a');
CREATE FUNCTION app.measure(text) RETURNS int LANGUAGE internal IMMUTABLE STRICT AS 'textlen';
CREATE FUNCTION app.distance(text, text) RETURNS int LANGUAGE c IMMUTABLE STRICT AS '$libdir/fuzzystrmatch', 'levenshtein';
CREATE TABLE app.measured (s text, n int GENERATED ALWAYS AS (app.measure(s)) STORED);
INSERT INTO app.measured VALUES ('abc');
CREATE INDEX ON app.t (app.measure(s));
CREATE VIEW app.v AS SELECT app.distance(s, 'b') FROM app.t;
-- [want]
SELECT (SELECT n FROM app.measured) = 3 AND app.distance('a', 'b') = 1
