-- References from one schema into another, each way and there and back again.
CREATE SCHEMA base;
CREATE SCHEMA uses;
CREATE SCHEMA apart; -- in no group
CREATE TABLE apart.t (id int PRIMARY KEY);
CREATE TYPE base.kind AS ENUM ('a', 'b');
CREATE FUNCTION base.one() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE TABLE base.t (id int PRIMARY KEY, other int REFERENCES apart.t);
INSERT INTO base.t VALUES (1), (2);
CREATE TABLE uses.t (id int PRIMARY KEY DEFAULT base.one(), base int REFERENCES base.t, k base.kind);
INSERT INTO uses.t VALUES (1, 1, 'a');
ALTER TABLE base.t ADD uses int REFERENCES uses.t;
CREATE VIEW base.v AS SELECT id FROM uses.t;
CREATE VIEW uses.v AS SELECT id FROM base.v; -- needs its own schema's table by way of another's view
CREATE MATERIALIZED VIEW uses.m AS SELECT id FROM base.v;
CREATE TABLE base.root (id int PRIMARY KEY, at int) PARTITION BY RANGE (id);
CREATE INDEX root_at ON base.root (at);
CREATE TABLE uses.leaf PARTITION OF base.root FOR VALUES FROM (0) TO (10);
CREATE TABLE apart.leaf PARTITION OF base.root FOR VALUES FROM (10) TO (20);
INSERT INTO base.root VALUES (1, 1), (11, 1);
CREATE TABLE base.parent (id int);
CREATE TABLE uses.child (x int) INHERITS (base.parent);
INSERT INTO uses.child VALUES (1, 2);
CREATE SEQUENCE uses.counter;
CREATE TABLE base.counted (id int DEFAULT nextval('uses.counter'));
CREATE TABLE base.by_kind (k base.kind) PARTITION BY HASH (k);
CREATE TABLE uses.by_kind_0 PARTITION OF base.by_kind FOR VALUES WITH (MODULUS 1, REMAINDER 0);
INSERT INTO base.by_kind VALUES ('a'), ('b');
CREATE FUNCTION uses.fires() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER fires BEFORE INSERT ON base.root FOR EACH ROW EXECUTE FUNCTION uses.fires();
CREATE STATISTICS uses.s ON id, at FROM base.root;
