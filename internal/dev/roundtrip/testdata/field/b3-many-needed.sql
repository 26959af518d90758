-- what: forty objects of another schema that are needed, and a publication, which is not
-- formats: sql custom
-- warning: objects of other schemas are needed and left out: type other.needed_type_10, type other.needed_type_11, type other.needed_type_12, type other.needed_type_13, type other.needed_type_14, type other.needed_type_15, type other.needed_type_16, type other.needed_type_17, type other.needed_type_18, type other.needed_type_19, type other.needed_type_20, type other.needed_type_21, type other.needed_type_22, type other.needed_type_23, type other.needed_type_24, type other.needed_type_25, type other.needed_type_26, type other.needed_type_27, type other.needed_type_28, type other.needed_type_29, type other.needed_type_30, type other.needed_type_31, type other.needed_type_32, type other.needed_type_33, type other.needed_type_34, type other.needed_type_35, type other.needed_type_36, type other.needed_type_37, type other.needed_type_38, type other.needed_type_39, type other.needed_type_40, type other.needed_type_41, type other.needed_type_42, type other.needed_type_43, type other.needed_type_44
-- warning: objects of other schemas are needed and left out: type other.needed_type_45, type other.needed_type_46, type other.needed_type_47, type other.needed_type_48, type other.needed_type_49
-- warning: publications are left out: app.t in publication feed
-- restore: => refused other
-- restore: target => ok
-- verify: unchecked needs what this server does not have
-- uncounted: app.t
CREATE SCHEMA other;
DO $$ BEGIN FOR i IN 10 .. 49 LOOP EXECUTE 'CREATE TYPE other.needed_type_' || i || ' AS ENUM (''a'')'; END LOOP; END $$;
CREATE SCHEMA app;
CREATE TABLE app.t ();
DO $$ BEGIN FOR i IN 10 .. 49 LOOP EXECUTE format('ALTER TABLE app.t ADD c%s other.needed_type_%s', i, i); END LOOP; END $$;
INSERT INTO app.t VALUES ('a');
CREATE PUBLICATION feed FOR TABLE app.t;
-- [target]
CREATE SCHEMA other;
DO $$ BEGIN FOR i IN 10 .. 49 LOOP EXECUTE 'CREATE TYPE other.needed_type_' || i || ' AS ENUM (''a'')'; END LOOP; END $$;
-- [want]
SELECT count(*) = 1 FROM app.t
