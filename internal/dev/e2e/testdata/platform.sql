-- The platform of the tests: a control plane and tenants that share one database.
CREATE SCHEMA control_plane;
CREATE TABLE control_plane.projects (
    id          text PRIMARY KEY,
    name        text NOT NULL,
    status      text NOT NULL,
    schema_name text NOT NULL,
    dsn         text
);
INSERT INTO control_plane.projects VALUES
    ('acme', 'Acme', 'active', 'tenant_acme'),
    ('globex', 'Globex', 'active', 'tenant_globex'),
    ('quoted', 'Quoted', 'active', 'Ten*ant "x"'),
    ('dormant', 'Dormant', 'suspended', 'tenant_dormant'),
    ('unborn', 'Unborn', 'active', 'tenant_unborn');

CREATE SCHEMA tenant_acme;
SET search_path = tenant_acme;
CREATE TYPE state AS ENUM ('draft', 'sent', 'it''s lost');
CREATE DOMAIN amount AS numeric(12, 2) CHECK (VALUE > 0);
CREATE SEQUENCE invoice_number START 1000;
CREATE TABLE customers (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name    text NOT NULL,
    profile jsonb NOT NULL,
    tags    text[] NOT NULL,
    logo    bytea,
    "Odd ""column""" text
);
CREATE TABLE invoices (
    number   bigint PRIMARY KEY DEFAULT nextval('invoice_number'),
    customer bigint NOT NULL REFERENCES customers,
    amount   amount NOT NULL,
    gross    numeric GENERATED ALWAYS AS (amount * 1.19) STORED,
    notes    text
);
CREATE TABLE events (
    id    bigint NOT NULL,
    at    timestamptz NOT NULL,
    state state NOT NULL,
    note  text,
    PRIMARY KEY (id, at)
) PARTITION BY RANGE (at);
CREATE TABLE events_2026_q1 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2026-04-01');
CREATE TABLE events_rest PARTITION OF events DEFAULT;
CREATE TABLE nothing (id int);
CREATE VIEW sent AS SELECT id, at FROM events WHERE state = 'sent';
CREATE FUNCTION label(s state) RETURNS text LANGUAGE sql IMMUTABLE AS $fn$
SELECT CASE s WHEN 'sent' THEN 'COPY lost FROM stdin;' ELSE s::text END
$fn$;
INSERT INTO customers (name, profile, tags, logo, "Odd ""column""")
SELECT 'Customer ' || n, jsonb_build_object('unicode', 'Grüße, 東京 ' || n), ARRAY['tag' || n % 5, E'tab\tline\nbackslash\\'],
    decode(md5(n::text), 'hex'), CASE WHEN n % 2 = 0 THEN '\N' END
FROM generate_series(1, 500) AS n;
INSERT INTO invoices (customer, amount, notes)
SELECT 1 + n % 500, 1 + n % 900, CASE WHEN n % 3 = 0 THEN NULL ELSE '\.' END FROM generate_series(1, 2000) AS n;
INSERT INTO events SELECT n, timestamptz '2026-01-01' + n % 300 * interval '1 day',
    (enum_range(NULL::state))[1 + n % 3], repeat(md5(n::text), 3) FROM generate_series(1, 15000) AS n;
CREATE MATERIALIZED VIEW states AS SELECT state, count(*) AS events FROM events GROUP BY state;

CREATE SCHEMA tenant_globex;
CREATE TABLE tenant_globex.parts (id int PRIMARY KEY, what text);
INSERT INTO tenant_globex.parts SELECT n, 'part ' || n FROM generate_series(1, 100) AS n;

-- As a pattern its name would also match the next one.
CREATE SCHEMA "Ten*ant ""x""";
CREATE TABLE "Ten*ant ""x"""."order items" (id int PRIMARY KEY, what text);
INSERT INTO "Ten*ant ""x"""."order items" SELECT n, 'mine ' || n FROM generate_series(1, 100) AS n;
CREATE SCHEMA "Ten-other-ant ""x""";
CREATE TABLE "Ten-other-ant ""x"""."order items" (id int PRIMARY KEY, what text);
INSERT INTO "Ten-other-ant ""x"""."order items" VALUES (1, 'foreign');

CREATE SCHEMA tenant_dormant;
CREATE TABLE tenant_dormant.secrets (id int PRIMARY KEY);
RESET search_path;
ANALYZE;
