-- what: a routine that psql cannot read back: named begin, or with a column of that name in its body
-- formats: sql
-- outcome: script_unreadable psql cannot read the script of function app.begin back
CREATE SCHEMA app;
CREATE FUNCTION app.begin(integer) RETURNS integer LANGUAGE sql AS 'SELECT 1';
CREATE TABLE app.t (begin integer);
INSERT INTO app.t VALUES (1), (2);
