-- what: an empty schema that was prepared with grants and default privileges
-- restore: target => ok
-- restore: target jobs => ok
CREATE SCHEMA app;
CREATE TABLE app.t AS SELECT 1 AS i;
-- [target]
CREATE SCHEMA app;
GRANT USAGE ON SCHEMA app TO pg_monitor;
ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT SELECT ON TABLES TO pg_monitor;
-- [want]
SELECT has_schema_privilege('pg_monitor', 'app', 'USAGE') AND has_table_privilege('pg_monitor', 'app.t', 'SELECT')
