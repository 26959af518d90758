-- what: a table with its rows in children by INHERITS in another schema
-- warning: tables in other schemas that inherit from these are left out with their rows: "chunks"."m1", "chunks"."m2"
CREATE SCHEMA app;
CREATE SCHEMA chunks;
CREATE TABLE app.measured (at timestamptz, value float8);
CREATE TABLE chunks.m1 () INHERITS (app.measured);
CREATE TABLE chunks.m2 () INHERITS (app.measured);
INSERT INTO chunks.m1 SELECT now(), i FROM generate_series(1, 2000) i;
-- [want]
SELECT count(*) = 0 FROM app.measured
