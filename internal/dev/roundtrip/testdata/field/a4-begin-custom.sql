-- what: routines that psql cannot read back, as an archive
-- formats: custom
-- restore: jobs => ok
-- restore: => ok
-- restore: no-transaction => ok
CREATE SCHEMA app;
CREATE TABLE app.t (begin integer);
INSERT INTO app.t VALUES (1), (2);
CREATE FUNCTION app.begin(integer) RETURNS integer LANGUAGE sql AS 'SELECT 1';
CREATE PROCEDURE app.routine() BEGIN ATOMIC INSERT INTO app.t SELECT begin FROM app.t; END;

-- [want]
SELECT (SELECT count(*) FROM app.t) = 2 AND app.begin(1) = 1
