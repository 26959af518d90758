CREATE TABLE pgcourier.restores (
    project_id     text        NOT NULL,
    request_id     text        NOT NULL,
    payload        bytea       NOT NULL,
    digest         bytea       NOT NULL,
    refused        boolean     NOT NULL,
    origin         json        NOT NULL,
    state          text        NOT NULL DEFAULT 'waiting',
    attempt        integer     NOT NULL DEFAULT 0,
    lease_until    timestamptz,
    worker         text,
    queue          text        NOT NULL,
    queue_sequence bigint      NOT NULL,
    delivery       integer     NOT NULL,
    from_project   text,
    from_request   text,
    placing_at     timestamptz,
    target         bytea,
    outcome        json,
    code           text,
    cancel_at      timestamptz,
    cancel_by      text,
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    touched_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    started_at     timestamptz,
    finished_at    timestamptz,
    published_at   timestamptz,
    CONSTRAINT restores_pkey PRIMARY KEY (project_id, request_id),
    CONSTRAINT restores_digest_is_sha256 CHECK (octet_length(digest) = 32),
    CONSTRAINT restores_state_is_known CHECK (state IN ('waiting', 'running', 'completed', 'failed')),
    CONSTRAINT restores_attempt_counts CHECK (attempt >= 0),
    CONSTRAINT restores_running_has_lease CHECK ((state = 'running') = (lease_until IS NOT NULL)),
    CONSTRAINT restores_terminal_has_outcome CHECK ((state IN ('completed', 'failed')) = (outcome IS NOT NULL)),
    CONSTRAINT restores_terminal_has_end CHECK ((state IN ('completed', 'failed')) = (finished_at IS NOT NULL)),
    CONSTRAINT restores_failed_has_code CHECK ((state = 'failed') = (code IS NOT NULL)),
    CONSTRAINT restores_published_is_terminal CHECK (published_at IS NULL OR state IN ('completed', 'failed')),
    CONSTRAINT restores_placing_has_target CHECK ((placing_at IS NULL) = (target IS NULL))
);

CREATE INDEX restores_open ON pgcourier.restores (touched_at) WHERE state IN ('waiting', 'running');
CREATE INDEX restores_unpublished ON pgcourier.restores (finished_at)
    WHERE published_at IS NULL AND state IN ('completed', 'failed');
CREATE INDEX restores_created ON pgcourier.restores (created_at);

COMMENT ON TABLE pgcourier.restores IS 'Every accepted restore.requested and its one outcome. The columns are those of requests, and so are the statements.';
COMMENT ON COLUMN pgcourier.restores.project_id IS 'The project that is restored into.';
COMMENT ON COLUMN pgcourier.restores.request_id IS 'The restore_id, unique within the project only.';
COMMENT ON COLUMN pgcourier.restores.from_project IS 'The project of the export.';
COMMENT ON COLUMN pgcourier.restores.from_request IS 'The export''s request, as the first attempt resolved it; it stays.';
COMMENT ON COLUMN pgcourier.restores.placing_at IS 'When an attempt first began to change the target. From then on the restore ends as failed only once the target has refused it.';
COMMENT ON COLUMN pgcourier.restores.target IS 'Digest of the target''s host, port, database and schema at that time. The login is no part of it.';

CREATE TABLE pgcourier.restore_attempts (
    project_id    text        NOT NULL,
    request_id    text        NOT NULL,
    attempt       integer     NOT NULL,
    worker        text        NOT NULL,
    delivery      integer     NOT NULL,
    nonce         text,
    object        text,
    started_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at      timestamptz,
    result        text        NOT NULL DEFAULT 'running',
    code          text,
    message       text,
    collect_after timestamptz,
    CONSTRAINT restore_attempts_pkey PRIMARY KEY (project_id, request_id, attempt),
    CONSTRAINT restore_attempts_request_fkey FOREIGN KEY (project_id, request_id)
        REFERENCES pgcourier.restores (project_id, request_id) ON DELETE CASCADE,
    CONSTRAINT restore_attempts_attempt_counts CHECK (attempt > 0),
    CONSTRAINT restore_attempts_result_is_known CHECK (result IN ('running', 'completed', 'retry', 'superseded', 'failed')),
    CONSTRAINT restore_attempts_running_has_no_end CHECK ((result = 'running') = (ended_at IS NULL)),
    CONSTRAINT restore_attempts_store_nothing CHECK (object IS NULL AND collect_after IS NULL)
);

COMMENT ON TABLE pgcourier.restore_attempts IS 'Every attempt at a restore. The columns are those of attempts; a restore stores no object.';

---- create above / drop below ----

DROP TABLE pgcourier.restore_attempts, pgcourier.restores;
