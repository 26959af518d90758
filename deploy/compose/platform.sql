-- A control plane with one active and one suspended project, for compose.yaml.
CREATE SCHEMA control_plane;
CREATE TABLE control_plane.projects (
    id          text PRIMARY KEY,
    name        text NOT NULL,
    status      text NOT NULL,
    schema_name text NOT NULL UNIQUE
);
INSERT INTO control_plane.projects VALUES
    ('acme', 'Acme', 'active', 'tenant_acme'),
    ('dormant', 'Dormant', 'suspended', 'tenant_dormant');

CREATE SCHEMA tenant_acme;
CREATE TABLE tenant_acme.orders (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer text NOT NULL,
    amount   numeric(10, 2) NOT NULL,
    details  jsonb NOT NULL DEFAULT '{}'
);
INSERT INTO tenant_acme.orders (customer, amount, details)
SELECT 'customer ' || n, n * 1.25, jsonb_build_object('line', n)
FROM generate_series(1, 10000) AS n;

CREATE SCHEMA tenant_dormant;
CREATE TABLE tenant_dormant.orders (id bigint PRIMARY KEY);
