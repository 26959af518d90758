-- A worker that may do no more than it must: run this once as a superuser in the platform's
-- database, and again whenever tenants were added. It can be repeated. docs/least-privilege.md
-- says what each part is for, and which names to put in the place of control_plane.projects.

-- 1. Logins. Give each a password (ALTER ROLE ... PASSWORD) or another way to log in.
DO $$
BEGIN
  IF to_regrole('pgcourier_worker') IS NULL THEN
    CREATE ROLE pgcourier_worker LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT NOBYPASSRLS NOREPLICATION;
  END IF;
  IF to_regrole('pgcourier_owner') IS NULL THEN
    CREATE ROLE pgcourier_owner LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT NOBYPASSRLS NOREPLICATION;
  END IF;
  EXECUTE format('GRANT CONNECT ON DATABASE %I TO pgcourier_worker, pgcourier_owner', current_database());
  ALTER ROLE pgcourier_worker NOINHERIT; -- it may have been made by other means
END
$$;

-- 2. The ledger: pgcourier_owner makes and alters its tables (pgcourier migrate), the worker
-- uses them.
CREATE SCHEMA IF NOT EXISTS pgcourier AUTHORIZATION pgcourier_owner;
GRANT USAGE ON SCHEMA pgcourier TO pgcourier_worker;
ALTER DEFAULT PRIVILEGES FOR ROLE pgcourier_owner IN SCHEMA pgcourier
  GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO pgcourier_worker;

-- 3. The control plane: one view, and nothing of the tables behind it.
CREATE SCHEMA IF NOT EXISTS pgcourier_access;
CREATE TABLE IF NOT EXISTS pgcourier_access.dump_roles (project_id text PRIMARY KEY, role name NOT NULL UNIQUE);
CREATE OR REPLACE VIEW pgcourier_access.projects WITH (security_barrier) AS
SELECT p.id::text AS id, p.name::text AS name, upper(p.status) = 'ACTIVE' AND r.role IS NOT NULL AS active,
       ARRAY[p.schema_name::text] AS schemas, r.role::text AS role
  FROM control_plane.projects p LEFT JOIN pgcourier_access.dump_roles r ON r.project_id = p.id::text;
GRANT USAGE ON SCHEMA pgcourier_access TO pgcourier_worker;
GRANT SELECT ON pgcourier_access.projects TO pgcourier_worker;

-- 4. A role for each project that may read its schema and nothing else. The worker is a
-- member, but inherits nothing: it must SET ROLE, which it does for the project's own dump.
-- Up to PostgreSQL 15 that is an attribute of the login, from 16 on an option of each grant.
DO $$
DECLARE
  p record;
  made name;
BEGIN
  FOR p IN
    SELECT c.id::text AS id, n.nspname, n.nspowner::regrole::text AS owner
      FROM control_plane.projects c JOIN pg_namespace n ON n.nspname = c.schema_name
  LOOP
    SELECT role INTO made FROM pgcourier_access.dump_roles WHERE project_id = p.id;
    IF made IS NULL THEN
      made := 'pgcourier_dump_' || left(md5(current_database() || '/' || p.id), 24);
      INSERT INTO pgcourier_access.dump_roles VALUES (p.id, made);
    END IF;
    IF to_regrole(quote_ident(made)) IS NULL THEN
      EXECUTE format('CREATE ROLE %I NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT NOBYPASSRLS', made);
    END IF;
    EXECUTE format('GRANT %I TO pgcourier_worker', made) || CASE
      WHEN current_setting('server_version_num')::int >= 160000 THEN ' WITH INHERIT FALSE, SET TRUE' ELSE '' END;
    IF pg_has_role('pgcourier_worker', made, 'USAGE') THEN
      RAISE EXCEPTION 'pgcourier_worker inherits the rights of %', made
        USING HINT = 'It is a superuser, or was granted the role by another grantor: see pg_auth_members, and revoke that.';
    END IF;
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', p.nspname, made);
    EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA %I TO %I', p.nspname, made);
    EXECUTE format('GRANT SELECT ON ALL SEQUENCES IN SCHEMA %I TO %I', p.nspname, made);
    -- What the schema's owner makes later. Other roles that make tables there need the same.
    EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE %s IN SCHEMA %I GRANT SELECT ON TABLES TO %I', p.owner, p.nspname, made);
    EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE %s IN SCHEMA %I GRANT SELECT ON SEQUENCES TO %I', p.owner, p.nspname, made);
  END LOOP;
END
$$;

-- 5. The HTTP API (serve --roles api), where there is one: it reads the ledger and writes to tables of
-- its own. Run this again after pgcourier migrate: these tables must be there.
DO $$
BEGIN
  IF to_regrole('pgcourier_api') IS NULL THEN
    CREATE ROLE pgcourier_api LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT NOBYPASSRLS NOREPLICATION;
  END IF;
  EXECUTE format('GRANT CONNECT ON DATABASE %I TO pgcourier_api', current_database());
  GRANT USAGE ON SCHEMA pgcourier TO pgcourier_api;
  IF to_regclass('pgcourier.api_tokens') IS NOT NULL THEN
    GRANT SELECT ON pgcourier.schema_version, pgcourier.requests, pgcourier.attempts, pgcourier.verifications, pgcourier.expiries, pgcourier.removal_orders,
      pgcourier.api_tokens, pgcourier.api_requests, pgcourier.api_calls TO pgcourier_api;
    GRANT UPDATE (last_used_at, last_used_from) ON pgcourier.api_tokens TO pgcourier_api;
    GRANT INSERT, UPDATE, DELETE ON pgcourier.api_requests TO pgcourier_api;
    GRANT INSERT, DELETE ON pgcourier.api_calls TO pgcourier_api;
    GRANT INSERT (project_id, request_id, ordered_by) ON pgcourier.removal_orders TO pgcourier_api;
    GRANT SELECT ON pgcourier.verification_orders TO pgcourier_api;
    -- Rules of retention: the owner sets them (pgcourier apply), the pruner and the console read them.
    GRANT SELECT ON pgcourier.retention_rules TO pgcourier_api;
    REVOKE INSERT, UPDATE, DELETE ON pgcourier.retention_rules FROM pgcourier_worker;
    GRANT INSERT (project_id, request_id, ordered_by), UPDATE (ordered_at, ordered_by, tries, held_until, fault, done_at)
      ON pgcourier.verification_orders TO pgcourier_api;
    -- Links: the API makes and counts them, and notes of a request that its own link was made.
    GRANT SELECT, INSERT, UPDATE ON pgcourier.links, pgcourier.downloads TO pgcourier_api;
    GRANT UPDATE (delivered_at) ON pgcourier.requests TO pgcourier_api;
    -- The owner makes tokens (pgcourier token). If the API and its console should make and revoke them too:
    -- GRANT INSERT, UPDATE (revoked_at, revoked_by) ON pgcourier.api_tokens TO pgcourier_api;
    -- A worker needs none of these tables.
    REVOKE ALL ON pgcourier.api_tokens, pgcourier.api_requests, pgcourier.api_calls FROM pgcourier_worker;
    -- Restores: the API shows and cancels them. A worker does not use these tables.
    GRANT SELECT, INSERT, UPDATE ON pgcourier.restores, pgcourier.restore_attempts TO pgcourier_api;
    REVOKE ALL ON pgcourier.restores, pgcourier.restore_attempts FROM pgcourier_worker;
  END IF;
END
$$;

-- 6. Restores by event (serve --roles restorer), where there are any: it uses the ledger of restores and
-- reads that of exports. Grant it what RESTORE_QUERY reads. Its logins of the targets are others.
DO $$
BEGIN
  IF to_regrole('pgcourier_restorer') IS NULL THEN
    CREATE ROLE pgcourier_restorer LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT NOBYPASSRLS NOREPLICATION;
  END IF;
  EXECUTE format('GRANT CONNECT ON DATABASE %I TO pgcourier_restorer', current_database());
  GRANT USAGE ON SCHEMA pgcourier TO pgcourier_restorer;
  IF to_regclass('pgcourier.restores') IS NOT NULL THEN
    GRANT SELECT ON pgcourier.schema_version, pgcourier.requests, pgcourier.attempts, pgcourier.verifications, pgcourier.storages TO pgcourier_restorer;
    GRANT SELECT, INSERT, UPDATE, DELETE ON pgcourier.restores, pgcourier.restore_attempts TO pgcourier_restorer;
  END IF;
END
$$;
