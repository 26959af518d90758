-- What PostgreSQL 14 has and 13 has not.
SET search_path = rich;
CREATE FUNCTION thrice(n int) RETURNS int LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE RETURN n * 3;
CREATE FUNCTION added(a int, OUT b int) LANGUAGE sql BEGIN ATOMIC SELECT a + 1; END;
CREATE TABLE since_14 (id int PRIMARY KEY, numbers int4multirange, squeezed text COMPRESSION pglz, tripled int GENERATED ALWAYS AS (thrice(id)) STORED);
INSERT INTO since_14 (id, numbers, squeezed) SELECT n, int4multirange(int4range(1, 5), int4range(n + 10, NULL)), repeat('squeezed ', n * 50) FROM generate_series(1, 60) AS n;
CREATE STATISTICS expressions ON (id % 7), (lower(squeezed)) FROM since_14;
CREATE PROCEDURE doubled(a int, OUT b int) LANGUAGE plpgsql AS 'BEGIN b := a * 2; END';
RESET search_path;
ANALYZE;
