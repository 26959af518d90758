-- What PostgreSQL 15 has and 14 has not.
SET search_path = rich;
CREATE TABLE since_15 (a int, b text, c int, UNIQUE NULLS NOT DISTINCT (a, b));
INSERT INTO since_15 VALUES (1, NULL, 1), (NULL, 'x', 2), (NULL, NULL, 3);
CREATE VIEW invoked WITH (security_invoker) AS SELECT a FROM since_15;
CREATE TABLE refers_15 (a int, b text, FOREIGN KEY (a, b) REFERENCES since_15 (a, b) ON DELETE SET NULL (b));
RESET search_path;
ANALYZE;
