-- The login of the verifier and of verify --restore: run this once as a superuser on the
-- scratch server, never on the platform's. It makes a database for each export, owns what
-- is restored there, and drops it.
DO $$
BEGIN
  IF to_regrole('pgcourier_verifier') IS NULL THEN
    CREATE ROLE pgcourier_verifier LOGIN NOSUPERUSER CREATEDB NOCREATEROLE NOINHERIT NOBYPASSRLS NOREPLICATION;
  END IF;
END
$$;
