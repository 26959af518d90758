-- What PostgreSQL 16 has and 15 has not.
SET search_path = rich;
CREATE TABLE since_16 (id int, body text STORAGE EXTERNAL, number int DEFAULT 0x_ff);
INSERT INTO since_16 (id, body) SELECT n, repeat('outside ', n * 100) FROM generate_series(1, 40) AS n;
CREATE VIEW judged AS SELECT id, body IS JSON AS json, JSON_ARRAY(id, body) AS pair FROM since_16;
RESET search_path;
ANALYZE;
