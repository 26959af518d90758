-- what: a source in SQL_ASCII with nothing but UTF-8 in it
-- formats: sql custom
-- encoding: SQL_ASCII
-- warning: the source has no encoding (SQL_ASCII): only a database without one takes all its bytes
-- restore: => ok
-- restore: encoding => ok
CREATE SCHEMA app;
CREATE TABLE app.t (name text);
INSERT INTO app.t VALUES (E'caf\xc3\xa9');
-- [want]
SELECT encode(convert_to(name, getdatabaseencoding()), 'hex') = '636166c3a9' FROM app.t
