-- what: restore --clean of public, where another schema's column has the type of an extension in public
-- schemas: public
-- warning: extensions are needed and left out: citext in schema public
-- restore: => refused citext
-- restore: create-extensions => ok
-- restore: target clean => ok
CREATE EXTENSION citext;
CREATE TABLE public.people (name citext);
INSERT INTO public.people VALUES ('Ada');
-- [target]
CREATE EXTENSION citext;
CREATE SCHEMA ten;
CREATE TABLE ten.t (id int, email public.citext);
INSERT INTO ten.t VALUES (1, 'bob@example.org');
CREATE TABLE public.people (name citext);
-- [want]
SELECT (SELECT string_agg(name, ',') FROM public.people) = 'Ada'
   AND (to_regclass('ten.t') IS NULL OR (SELECT count(*) FROM pg_attribute WHERE attrelid = to_regclass('ten.t') AND attname = 'email') = 1)
