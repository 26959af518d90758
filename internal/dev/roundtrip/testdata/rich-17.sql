-- What PostgreSQL 17 has and 16 has not.
SET search_path = rich;
-- It has no exclusion constraint: PostgreSQL does not restore one on a partitioned table.
CREATE TABLE since_17 (id int GENERATED ALWAYS AS IDENTITY, at date NOT NULL, note text) PARTITION BY RANGE (at);
CREATE TABLE since_17_old PARTITION OF since_17 FOR VALUES FROM (MINVALUE) TO ('2026-01-01');
CREATE TABLE since_17_new PARTITION OF since_17 FOR VALUES FROM ('2026-01-01') TO (MAXVALUE);
INSERT INTO since_17 (at, note) SELECT date '2025-12-20' + n, 'n' || n FROM generate_series(1, 30) AS n;
CREATE VIEW spread AS SELECT j.* FROM JSON_TABLE('[{"a": 1}, {"a": 2}]', '$[*]' COLUMNS (n FOR ORDINALITY, a int PATH '$.a')) AS j;
RESET search_path;
ANALYZE;
