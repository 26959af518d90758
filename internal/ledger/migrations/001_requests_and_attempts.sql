CREATE TABLE pgcourier.requests (
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
    outcome        json,
    code           text,
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    touched_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    started_at     timestamptz,
    finished_at    timestamptz,
    published_at   timestamptz,
    CONSTRAINT requests_pkey PRIMARY KEY (project_id, request_id),
    CONSTRAINT requests_digest_is_sha256 CHECK (octet_length(digest) = 32),
    CONSTRAINT requests_state_is_known CHECK (state IN ('waiting', 'running', 'completed', 'failed')),
    CONSTRAINT requests_attempt_counts CHECK (attempt >= 0),
    CONSTRAINT requests_running_has_lease CHECK ((state = 'running') = (lease_until IS NOT NULL)),
    CONSTRAINT requests_terminal_has_outcome CHECK ((state IN ('completed', 'failed')) = (outcome IS NOT NULL)),
    CONSTRAINT requests_terminal_has_end CHECK ((state IN ('completed', 'failed')) = (finished_at IS NOT NULL)),
    CONSTRAINT requests_failed_has_code CHECK ((state = 'failed') = (code IS NOT NULL)),
    CONSTRAINT requests_published_is_terminal CHECK (published_at IS NULL OR state IN ('completed', 'failed'))
);

CREATE INDEX requests_open ON pgcourier.requests (touched_at) WHERE state IN ('waiting', 'running');
CREATE INDEX requests_unpublished ON pgcourier.requests (finished_at)
    WHERE published_at IS NULL AND state IN ('completed', 'failed');
CREATE INDEX requests_created ON pgcourier.requests (created_at);
CREATE INDEX requests_failed ON pgcourier.requests (created_at) WHERE state = 'failed';
CREATE INDEX requests_by_request_id ON pgcourier.requests (request_id);

COMMENT ON TABLE pgcourier.requests IS 'Every accepted backup.requested and its one outcome. All times are this database''s clock.';
COMMENT ON COLUMN pgcourier.requests.project_id IS 'The project that is exported.';
COMMENT ON COLUMN pgcourier.requests.request_id IS 'Unique within the project only.';
COMMENT ON COLUMN pgcourier.requests.payload IS 'The request as it is to be replayed: canonical JSON, or the body as received when it was refused.';
COMMENT ON COLUMN pgcourier.requests.digest IS 'SHA-256 of payload: the same id with another digest is a conflict.';
COMMENT ON COLUMN pgcourier.requests.refused IS 'The request broke the contract; its payload is not valid and is not announced.';
COMMENT ON COLUMN pgcourier.requests.origin IS 'Who asked and their metadata. json, not jsonb: it comes back byte for byte, \u0000 included.';
COMMENT ON COLUMN pgcourier.requests.state IS 'waiting (for its next delivery), running (leased), completed or failed (terminal).';
COMMENT ON COLUMN pgcourier.requests.attempt IS 'The fence: the latest attempt''s number. One more than the attempts made when the reaper ended the request.';
COMMENT ON COLUMN pgcourier.requests.lease_until IS 'From then on another worker may claim the request.';
COMMENT ON COLUMN pgcourier.requests.worker IS 'The process that made the latest claim.';
COMMENT ON COLUMN pgcourier.requests.queue IS 'Identity of the stream that delivered the request last: its name and time of creation.';
COMMENT ON COLUMN pgcourier.requests.queue_sequence IS 'The message''s sequence in that stream.';
COMMENT ON COLUMN pgcourier.requests.delivery IS 'The highest delivery number seen of that message.';
COMMENT ON COLUMN pgcourier.requests.outcome IS 'The outcome as announced, without the request itself. json for the reason given at origin.';
COMMENT ON COLUMN pgcourier.requests.code IS 'Why it failed.';
COMMENT ON COLUMN pgcourier.requests.created_at IS 'When the request was first seen.';
COMMENT ON COLUMN pgcourier.requests.touched_at IS 'When the request last changed hands: a delivery, a claim, a release.';
COMMENT ON COLUMN pgcourier.requests.started_at IS 'When its first attempt began.';
COMMENT ON COLUMN pgcourier.requests.finished_at IS 'When it became terminal.';
COMMENT ON COLUMN pgcourier.requests.published_at IS 'When the broker was known to hold its outcome.';

CREATE TABLE pgcourier.attempts (
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
    looks         integer     NOT NULL DEFAULT 0,
    collect_after timestamptz,
    collected_at  timestamptz,
    CONSTRAINT attempts_pkey PRIMARY KEY (project_id, request_id, attempt),
    CONSTRAINT attempts_request_fkey FOREIGN KEY (project_id, request_id)
        REFERENCES pgcourier.requests (project_id, request_id) ON DELETE CASCADE,
    CONSTRAINT attempts_attempt_counts CHECK (attempt > 0),
    CONSTRAINT attempts_result_is_known CHECK (result IN ('running', 'completed', 'retry', 'superseded', 'failed')),
    CONSTRAINT attempts_running_has_no_end CHECK ((result = 'running') = (ended_at IS NULL)),
    CONSTRAINT attempts_collect_only_losers CHECK (
        collect_after IS NULL OR (object IS NOT NULL AND result IN ('retry', 'superseded', 'failed')))
);

CREATE UNIQUE INDEX attempts_object ON pgcourier.attempts (object) WHERE object IS NOT NULL;
CREATE INDEX attempts_collect ON pgcourier.attempts (collect_after) WHERE collect_after IS NOT NULL;

COMMENT ON TABLE pgcourier.attempts IS 'Every attempt at a request, with the name of the object it may have stored.';
COMMENT ON COLUMN pgcourier.attempts.attempt IS 'From 1. A write with a number below the request''s changes nothing.';
COMMENT ON COLUMN pgcourier.attempts.worker IS 'The process that made the attempt.';
COMMENT ON COLUMN pgcourier.attempts.delivery IS 'The delivery that the attempt answered.';
COMMENT ON COLUMN pgcourier.attempts.nonce IS 'Recognises the claim again when its reply was lost.';
COMMENT ON COLUMN pgcourier.attempts.object IS 'Key of the attempt''s object, recorded in the claim''s transaction, before anything is stored. No two attempts share one. Null: the attempt stores nothing.';
COMMENT ON COLUMN pgcourier.attempts.started_at IS 'When it was granted.';
COMMENT ON COLUMN pgcourier.attempts.ended_at IS 'When it ended or was superseded.';
COMMENT ON COLUMN pgcourier.attempts.result IS 'running, completed, retry (to be tried again), superseded (by a later attempt or the reaper), failed.';
COMMENT ON COLUMN pgcourier.attempts.code IS 'Why it failed, or is to be tried again.';
COMMENT ON COLUMN pgcourier.attempts.message IS 'The same for a human; safe to show.';
COMMENT ON COLUMN pgcourier.attempts.looks IS 'How often the collector deleted the object.';
COMMENT ON COLUMN pgcourier.attempts.collect_after IS 'When the collector looks (again) for the object. Null: it must not, or need not any more.';
COMMENT ON COLUMN pgcourier.attempts.collected_at IS 'When the collector looked last.';
