-- what: restore --clean where another schema has a column, a view and a foreign key on the restored one
-- restore: target clean => dependents table column ten.t.feels, table constraint t_fk on ten.t, view ten.v
CREATE SCHEMA app;
CREATE TYPE app.mood AS ENUM ('sad', 'happy');
CREATE TABLE app.users (id int PRIMARY KEY);
-- [target]
CREATE SCHEMA app;
CREATE TYPE app.mood AS ENUM ('sad', 'happy');
CREATE TABLE app.users (id int PRIMARY KEY);
CREATE SCHEMA ten;
CREATE TABLE ten.t (id int CONSTRAINT t_fk REFERENCES app.users, feels app.mood);
CREATE VIEW ten.v AS SELECT id FROM app.users;
