-- what: partitions of tables of another schema that have indexes, constraints and triggers
-- formats: sql custom directory
-- warning: partitions of tables in other schemas need those to be restored: table other.events, table other.plain
-- restore: => refused other
-- restore: target => ok
-- restore: target keep-going => ok
-- restore: target no-transaction => ok
-- restore: target jobs => jobs
-- verify: unchecked needs what this server does not have
CREATE SCHEMA other;
CREATE TABLE other.events (id int, at date NOT NULL, note text, PRIMARY KEY (id, at), CHECK (id > 0)) PARTITION BY RANGE (at);
CREATE INDEX events_note ON other.events (note);
CREATE TABLE other.plain (id int) PARTITION BY LIST (id);
CREATE SCHEMA app;
CREATE TABLE app.events_2025 PARTITION OF other.events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE INDEX of_its_own ON app.events_2025 (lower(note));
CREATE TABLE app."events 2026" PARTITION OF other.events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01') PARTITION BY RANGE (at);
CREATE TABLE app.events_2026_all PARTITION OF app."events 2026" DEFAULT;
CREATE TABLE app.plain_1 PARTITION OF other.plain FOR VALUES IN (1);
INSERT INTO other.events VALUES (1, '2025-02-02', 'a'), (2, '2026-02-02', 'b');
INSERT INTO other.plain VALUES (1);
-- [target]
CREATE SCHEMA other;
CREATE TABLE other.events (id int, at date NOT NULL, note text, PRIMARY KEY (id, at), CHECK (id > 0)) PARTITION BY RANGE (at);
CREATE INDEX events_note ON other.events (note);
CREATE TABLE other.plain (id int) PARTITION BY LIST (id);
-- [want]
SELECT (SELECT string_agg(note, '' ORDER BY id) FROM other.events) = 'ab' AND (SELECT count(*) FROM other.plain) = 1
   AND (SELECT count(*) FROM pg_indexes WHERE schemaname = 'app') = 7
   AND (SELECT count(*) FROM pg_inherits i JOIN pg_index x ON x.indexrelid = i.inhrelid) = 6
