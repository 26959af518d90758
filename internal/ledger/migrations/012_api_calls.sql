CREATE TABLE pgcourier.api_requests (
    project_id   text        NOT NULL,
    request_id   text        NOT NULL,
    digest       bytea       NOT NULL,
    payload      bytea       NOT NULL,
    requested_by text        NOT NULL,
    asked_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    recorded     boolean     NOT NULL DEFAULT false,
    CONSTRAINT api_requests_pkey PRIMARY KEY (project_id, request_id),
    CONSTRAINT api_requests_digest_is_sha256 CHECK (octet_length(digest) = 32)
);

CREATE INDEX api_requests_waiting ON pgcourier.api_requests (project_id, asked_at, request_id) WHERE NOT recorded;
CREATE INDEX api_requests_asked ON pgcourier.api_requests (asked_at);

COMMENT ON TABLE pgcourier.api_requests IS 'What the API asked the broker for: the same key with other contents is refused by it, and a request that no worker has seen yet is shown by it.';
COMMENT ON COLUMN pgcourier.api_requests.digest IS 'SHA-256 of payload, as requests.digest.';
COMMENT ON COLUMN pgcourier.api_requests.recorded IS 'A worker has recorded the request: its row in requests is the truth now.';

CREATE TABLE pgcourier.api_calls (
    call_id    bigint      GENERATED ALWAYS AS IDENTITY,
    called_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    subject    text        NOT NULL,
    address    text        NOT NULL,
    action     text        NOT NULL,
    project_id text        NOT NULL,
    object     text        NOT NULL,
    CONSTRAINT api_calls_pkey PRIMARY KEY (call_id)
);

CREATE INDEX api_calls_of_project ON pgcourier.api_calls (project_id, called_at);
CREATE INDEX api_calls_called ON pgcourier.api_calls (called_at);

COMMENT ON TABLE pgcourier.api_calls IS 'The audit of the API: every call that changed something.';
COMMENT ON COLUMN pgcourier.api_calls.subject IS 'The caller: token: and the id of a token, or oidc: and the subject of the issuer.';
COMMENT ON COLUMN pgcourier.api_calls.address IS 'The caller''s network address; behind a proxy the one that the proxy names.';
COMMENT ON COLUMN pgcourier.api_calls.action IS 'The operation, as the OpenAPI document names it.';
COMMENT ON COLUMN pgcourier.api_calls.object IS 'The request id, or the name of the schedule or the link.';

CREATE TABLE pgcourier.removal_orders (
    project_id text        NOT NULL,
    request_id text        NOT NULL,
    ordered_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ordered_by text        NOT NULL,
    tries      integer     NOT NULL DEFAULT 0,
    fault      text,
    done_at    timestamptz,
    CONSTRAINT removal_orders_pkey PRIMARY KEY (project_id, request_id),
    CONSTRAINT removal_orders_request_fkey FOREIGN KEY (project_id, request_id)
        REFERENCES pgcourier.requests (project_id, request_id) ON DELETE CASCADE
);

CREATE INDEX removal_orders_open ON pgcourier.removal_orders (ordered_at) WHERE done_at IS NULL;

COMMENT ON TABLE pgcourier.removal_orders IS 'Exports that the API was told to delete. A sweeper deletes them: the API has no rights to the storage.';
COMMENT ON COLUMN pgcourier.removal_orders.tries IS 'How often a destination could not delete.';
COMMENT ON COLUMN pgcourier.removal_orders.fault IS 'Why, the last time.';
COMMENT ON COLUMN pgcourier.removal_orders.done_at IS 'When every destination had deleted it.';

CREATE INDEX requests_of_project ON pgcourier.requests
    (project_id, (CASE WHEN code = 'cancelled' THEN 'cancelled' ELSE state END), created_at, request_id);

COMMENT ON INDEX pgcourier.requests_of_project IS 'The pages of a project''s requests, by state.';

---- create above / drop below ----

DROP INDEX pgcourier.requests_of_project;
DROP TABLE pgcourier.removal_orders, pgcourier.api_calls, pgcourier.api_requests;
