-- The demo's platform: a control plane with three projects, one of real size, one small,
-- one suspended. $size$ is replaced by the number of events of the large one.
CREATE SCHEMA control_plane;
CREATE TABLE control_plane.projects (
    id          text PRIMARY KEY,
    name        text NOT NULL,
    status      text NOT NULL,
    schema_name text NOT NULL UNIQUE
);
INSERT INTO control_plane.projects VALUES
    ('acme', 'Acme Logistics', 'active', 'tenant_acme'),
    ('bolt', 'Bolt & Nut', 'active', 'Ten*ant "bolt"'),
    ('ceres', 'Ceres Farming', 'suspended', 'tenant_ceres');

CREATE SCHEMA tenant_acme;
SET search_path = tenant_acme;
CREATE TYPE shipment_state AS ENUM ('draft', 'sent', 'delivered', 'lost');
CREATE DOMAIN positive_amount AS numeric(12, 2) CHECK (VALUE > 0);
CREATE SEQUENCE invoice_number START 1000;
CREATE TABLE customers (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name    text NOT NULL,
    profile jsonb NOT NULL,
    tags    text[] NOT NULL DEFAULT '{}',
    logo    bytea
);
COMMENT ON TABLE customers IS 'Who pays; with a quote '' and a backslash \';
CREATE TABLE invoices (
    number   bigint PRIMARY KEY DEFAULT nextval('invoice_number'),
    customer bigint NOT NULL REFERENCES customers,
    amount   positive_amount NOT NULL,
    gross    numeric GENERATED ALWAYS AS (amount * 1.19) STORED,
    notes    text
);
CREATE TABLE events (
    id      bigint NOT NULL,
    at      timestamptz NOT NULL,
    state   shipment_state NOT NULL,
    payload jsonb NOT NULL,
    message text,
    PRIMARY KEY (id, at)
) PARTITION BY RANGE (at);
CREATE TABLE events_2026_q1 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2026-04-01');
CREATE TABLE events_2026_q2 PARTITION OF events FOR VALUES FROM ('2026-04-01') TO ('2026-07-01');
CREATE TABLE events_rest PARTITION OF events DEFAULT;
CREATE INDEX events_state ON events (state);
CREATE VIEW open_shipments AS SELECT id, at, payload FROM events WHERE state IN ('draft', 'sent');
CREATE FUNCTION label(s shipment_state) RETURNS text LANGUAGE sql IMMUTABLE AS $fn$
SELECT CASE s WHEN 'lost' THEN 'COPY lost FROM stdin;' ELSE s::text END
$fn$;

INSERT INTO customers (name, profile, tags, logo)
SELECT 'Customer ' || n, jsonb_build_object('city', 'City ' || n % 50, 'score', n % 7, 'unicode', 'Grüße, 東京 ' || n),
    ARRAY['tag' || n % 5, 'tab	newline
backslash\'], decode(md5(n::text), 'hex')
FROM generate_series(1, 5000) AS n;
INSERT INTO invoices (customer, amount, notes)
SELECT 1 + n % 5000, 1 + n % 900, CASE WHEN n % 3 = 0 THEN NULL ELSE '\.' END FROM generate_series(1, 20000) AS n;
INSERT INTO events
SELECT n, timestamptz '2026-01-01' + n % 300 * interval '1 day', (enum_range(NULL::shipment_state))[1 + n % 4],
    jsonb_build_object('line', n, 'hash', md5(n::text), 'route', ARRAY[n % 10, n % 20, n % 30]),
    repeat(md5((n * 7)::text) || ' ', 4)
FROM generate_series(1, $size$) AS n;
CREATE MATERIALIZED VIEW states AS SELECT state, count(*) AS events FROM events GROUP BY state;

CREATE SCHEMA "Ten*ant ""bolt""";
CREATE TABLE "Ten*ant ""bolt"""."order items" (id int PRIMARY KEY, what text);
INSERT INTO "Ten*ant ""bolt"""."order items" SELECT n, 'part ' || n FROM generate_series(1, 1000) AS n;

CREATE SCHEMA tenant_ceres;
CREATE TABLE tenant_ceres.harvest (id int PRIMARY KEY);
RESET search_path;
ANALYZE;
