-- What PostgreSQL 18 has and 17 has not.
SET search_path = rich;
CREATE TABLE since_18 (
    id int, room int4range, during int4range, computed int GENERATED ALWAYS AS (id * 2) VIRTUAL, at uuid DEFAULT uuidv7(),
    CONSTRAINT id_is_there NOT NULL id, CONSTRAINT not_held CHECK (id > 1000) NOT ENFORCED, PRIMARY KEY (room, during WITHOUT OVERLAPS)
);
INSERT INTO since_18 (id, room, during) SELECT n, int4range(1, 2), int4range(n * 10, n * 10 + 5) FROM generate_series(1, 30) AS n;
CREATE TABLE refers_18 (room int4range, during int4range, FOREIGN KEY (room, PERIOD during) REFERENCES since_18 (room, PERIOD during));
INSERT INTO refers_18 VALUES (int4range(1, 2), int4range(11, 13));
CREATE TABLE late_18 (a int, b int REFERENCES late_18 NOT ENFORCED, c int PRIMARY KEY);
INSERT INTO late_18 VALUES (NULL, 99, 1), (1, 1, 2);
ALTER TABLE late_18 ADD CONSTRAINT a_later NOT NULL a NOT VALID;
RESET search_path;
ANALYZE;
