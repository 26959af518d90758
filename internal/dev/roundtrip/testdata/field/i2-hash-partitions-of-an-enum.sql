-- what: partitions by hash of an enum, whose rows land in other partitions of the target
-- formats: sql custom
-- restore: target => ok
-- restore: target => ok
-- restore: target => ok
CREATE SCHEMA app;
CREATE TYPE app.letter AS ENUM ('a', 'b', 'c', 'd', 'e', 'f', 'g', 'h');
CREATE TABLE app.parted (l app.letter, n int) PARTITION BY HASH (l);
CREATE TABLE app.p0 PARTITION OF app.parted FOR VALUES WITH (MODULUS 3, REMAINDER 0);
CREATE TABLE app.p1 PARTITION OF app.parted FOR VALUES WITH (MODULUS 3, REMAINDER 1);
CREATE TABLE app.p2 PARTITION OF app.parted FOR VALUES WITH (MODULUS 3, REMAINDER 2);
INSERT INTO app.parted SELECT l, n FROM unnest(enum_range(NULL::app.letter)) WITH ORDINALITY AS x (l, n), generate_series(1, 10 * n);
-- [target]
CREATE TYPE public.burns_oids AS ENUM ('a', 'b', 'c');
-- [want]
SELECT (SELECT count(*) FROM app.parted) = 360 AND (SELECT count(*) FROM app.parted WHERE l = 'c') = 30
