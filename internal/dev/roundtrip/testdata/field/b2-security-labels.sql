-- what: a security label of a provider that the target does not have
-- warning: security labels need their providers where they are restored: guard
-- restore: => refused guard
-- restore: keep-going => incomplete
-- verify: unchecked SECURITY LABEL FOR guard
-- prepared: refused guard
CREATE SCHEMA app;
CREATE TABLE app.t AS SELECT 1 AS a;
INSERT INTO pg_seclabel (objoid, classoid, objsubid, provider, label) VALUES ('app.t'::regclass, 'pg_class'::regclass, 0, 'guard', 'secret');
-- [want]
SELECT count(*) = 1 FROM app.t
