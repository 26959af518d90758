CREATE TABLE pgcourier.api_tokens (
    token_id       text        NOT NULL,
    hash           bytea       NOT NULL,
    project_id     text        NOT NULL,
    scopes         text[]      NOT NULL,
    label          text        NOT NULL DEFAULT '',
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_by     text        NOT NULL DEFAULT '',
    expires_at     timestamptz,
    revoked_at     timestamptz,
    revoked_by     text        NOT NULL DEFAULT '',
    last_used_at   timestamptz,
    last_used_from text        NOT NULL DEFAULT '',
    CONSTRAINT api_tokens_pkey PRIMARY KEY (token_id),
    CONSTRAINT api_tokens_hash UNIQUE (hash),
    CONSTRAINT api_tokens_hash_is_sha256 CHECK (octet_length(hash) = 32)
);

COMMENT ON TABLE pgcourier.api_tokens IS 'The tokens of the HTTP API. A token itself is kept nowhere.';
COMMENT ON COLUMN pgcourier.api_tokens.token_id IS 'Names the token to people, in events and in logs. It opens nothing.';
COMMENT ON COLUMN pgcourier.api_tokens.hash IS 'SHA-256 of the token, which has 130 random bits.';
COMMENT ON COLUMN pgcourier.api_tokens.project_id IS 'The one project that it is for; * for all.';
COMMENT ON COLUMN pgcourier.api_tokens.scopes IS 'What it is for: export, read, download, operate, admin.';
COMMENT ON COLUMN pgcourier.api_tokens.revoked_at IS 'From then on it opens nothing. The row stays, for the audit.';
COMMENT ON COLUMN pgcourier.api_tokens.last_used_at IS 'To the minute: a call within a minute of the last one is not noted.';

---- create above / drop below ----

DROP TABLE pgcourier.api_tokens;
