-- what: routines and a type that PUBLIC may not use, which a dump without rights gives to everybody
-- formats: sql custom
-- warning: every role may use these after a restore without pgcourier, but not in the source: ROUTINE app.clean(), ROUTINE app.secret(integer), TYPE app.token
-- restore: => ok
-- restore: jobs => ok
-- restore: no-transaction => ok
-- restore: target => ok
CREATE SCHEMA app;
CREATE FUNCTION app.secret(int) RETURNS int SECURITY DEFINER LANGUAGE sql AS 'SELECT $1';
REVOKE EXECUTE ON FUNCTION app.secret FROM PUBLIC;
CREATE FUNCTION app.open(int) RETURNS int LANGUAGE sql AS 'SELECT $1';
GRANT EXECUTE ON FUNCTION app.open TO pg_monitor;
CREATE PROCEDURE app.clean() LANGUAGE sql AS 'SELECT 1';
REVOKE EXECUTE ON PROCEDURE app.clean FROM PUBLIC;
CREATE DOMAIN app.token AS text;
REVOKE USAGE ON TYPE app.token FROM PUBLIC;
-- [target]
CREATE SCHEMA app;
GRANT USAGE ON SCHEMA app TO PUBLIC;
-- [want]
SELECT NOT has_function_privilege('pg_monitor', 'app.secret(int)', 'EXECUTE') AND has_function_privilege('pg_monitor', 'app.open(int)', 'EXECUTE')
   AND NOT has_function_privilege('pg_monitor', 'app.clean()', 'EXECUTE') AND NOT has_type_privilege('pg_monitor', 'app.token', 'USAGE')
