CREATE TABLE pgcourier.verification_orders (
    project_id text        NOT NULL,
    request_id text        NOT NULL,
    ordered_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ordered_by text        NOT NULL,
    tries      integer     NOT NULL DEFAULT 0,
    held_until timestamptz,
    fault      text,
    done_at    timestamptz,
    CONSTRAINT verification_orders_pkey PRIMARY KEY (project_id, request_id),
    CONSTRAINT verification_orders_request_fkey FOREIGN KEY (project_id, request_id)
        REFERENCES pgcourier.requests (project_id, request_id) ON DELETE CASCADE
);

CREATE INDEX verification_orders_open ON pgcourier.verification_orders (ordered_at) WHERE done_at IS NULL;

COMMENT ON TABLE pgcourier.verification_orders IS 'Exports that the API was told to verify. A verifier does it: the API has neither the storage nor the identities.';
COMMENT ON COLUMN pgcourier.verification_orders.tries IS 'How often a verifier took the order.';
COMMENT ON COLUMN pgcourier.verification_orders.held_until IS 'Until then no other verifier takes the order.';
COMMENT ON COLUMN pgcourier.verification_orders.fault IS 'Why the verification could not be made, the last time. What a verification found is in verifications.';
COMMENT ON COLUMN pgcourier.verification_orders.done_at IS 'When it was carried out, or given up after the last try.';

---- create above / drop below ----

DROP TABLE pgcourier.verification_orders;
