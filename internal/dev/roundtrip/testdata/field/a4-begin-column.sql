-- what: a routine with a body by BEGIN ATOMIC that selects a column named begin
-- formats: sql
-- outcome: script_unreadable psql cannot read the script of procedure app."the ?routine" back
CREATE SCHEMA app;
CREATE TABLE app.t (begin integer);
INSERT INTO app.t VALUES (1), (2);
CREATE PROCEDURE app."the 
routine"() BEGIN ATOMIC INSERT INTO app.t SELECT begin FROM app.t; END;
