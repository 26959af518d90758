-- what: a source in SQL_ASCII with bytes that are no UTF-8
-- formats: sql custom directory
-- encoding: SQL_ASCII
-- warning: the source has no encoding (SQL_ASCII): only a database without one takes all its bytes
-- restore: => refused a database of encoding SQL_ASCII, this one is of UTF8
-- restore: encoding => ok
-- restore: encoding jobs => ok
CREATE SCHEMA app;
CREATE TABLE app.t (name text);
INSERT INTO app.t VALUES (E'caf\xe9'), ('plain');
-- [want]
SELECT count(*) = 2 AND max(octet_length(name)) = 5 FROM app.t
