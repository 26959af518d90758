CREATE TABLE pgcourier.verifications (
    project_id  text        NOT NULL,
    request_id  text        NOT NULL,
    damaged     boolean     NOT NULL,
    verified_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT verifications_pkey PRIMARY KEY (project_id, request_id),
    CONSTRAINT verifications_request_fkey FOREIGN KEY (project_id, request_id)
        REFERENCES pgcourier.requests (project_id, request_id) ON DELETE CASCADE
);

COMMENT ON TABLE pgcourier.verifications IS 'What a verifier found of a completed export, last. Retention prefers what was verified.';
COMMENT ON COLUMN pgcourier.verifications.damaged IS 'It is not what was promised, or it is missing. False: it was read back and restored.';
COMMENT ON COLUMN pgcourier.verifications.verified_at IS 'When that was found.';

CREATE TABLE pgcourier.expiries (
    project_id   text        NOT NULL,
    request_id   text        NOT NULL,
    reason       text        NOT NULL,
    warned_at    timestamptz,
    deleting_at  timestamptz,
    tries        integer     NOT NULL DEFAULT 0,
    fault        text,
    results      json,
    deleted_at   timestamptz,
    announced_at timestamptz,
    CONSTRAINT expiries_pkey PRIMARY KEY (project_id, request_id),
    CONSTRAINT expiries_request_fkey FOREIGN KEY (project_id, request_id)
        REFERENCES pgcourier.requests (project_id, request_id) ON DELETE CASCADE,
    CONSTRAINT expiries_deleting_was_warned CHECK (deleting_at IS NULL OR warned_at IS NOT NULL),
    CONSTRAINT expiries_deleted_was_deleting CHECK (deleted_at IS NULL OR deleting_at IS NOT NULL),
    CONSTRAINT expiries_announced_was_deleted CHECK (announced_at IS NULL OR deleted_at IS NOT NULL)
);

CREATE INDEX expiries_unannounced ON pgcourier.expiries (deleted_at) WHERE deleted_at IS NOT NULL AND announced_at IS NULL;

COMMENT ON TABLE pgcourier.expiries IS 'Exports that retention lets go, and how far that has come. All times are this database''s clock.';
COMMENT ON COLUMN pgcourier.expiries.reason IS 'Why no rule keeps it.';
COMMENT ON COLUMN pgcourier.expiries.warned_at IS 'When the warning was published: the notice runs from here. Null: not yet, or to be repeated.';
COMMENT ON COLUMN pgcourier.expiries.deleting_at IS 'When the deletion began. From then on it is finished, whatever the rules say.';
COMMENT ON COLUMN pgcourier.expiries.tries IS 'How often a destination could not delete.';
COMMENT ON COLUMN pgcourier.expiries.fault IS 'Why, the last time.';
COMMENT ON COLUMN pgcourier.expiries.results IS 'What became of it at each destination.';
COMMENT ON COLUMN pgcourier.expiries.deleted_at IS 'When every destination had deleted it.';
COMMENT ON COLUMN pgcourier.expiries.announced_at IS 'When the broker was known to hold backup.expired.';

CREATE TABLE pgcourier.pruning (
    single      boolean     NOT NULL DEFAULT true,
    holder      text,
    lease_until timestamptz,
    begun_at    timestamptz,
    CONSTRAINT pruning_pkey PRIMARY KEY (single),
    CONSTRAINT pruning_is_one_row CHECK (single)
);
INSERT INTO pgcourier.pruning DEFAULT VALUES;

COMMENT ON TABLE pgcourier.pruning IS 'Who prunes now, and when pruning last began: one row.';
COMMENT ON COLUMN pgcourier.pruning.lease_until IS 'From then on another process may prune.';
COMMENT ON COLUMN pgcourier.pruning.begun_at IS 'By it a clock that jumped is noticed.';

---- create above / drop below ----

DROP TABLE pgcourier.pruning, pgcourier.expiries, pgcourier.verifications;
