CREATE TABLE pgcourier.links (
    link_id       text        NOT NULL,
    project_id    text        NOT NULL,
    request_id    text        NOT NULL,
    attempt       integer     NOT NULL,
    issued_by     text        NOT NULL,
    of_request    boolean     NOT NULL,
    notify_email  text        NOT NULL,
    max_downloads integer     NOT NULL,
    downloads     integer     NOT NULL DEFAULT 0,
    issued_at     timestamptz NOT NULL,
    expires_at    timestamptz NOT NULL,
    revoked_at    timestamptz,
    revoked_by    text,
    issue_announced_at timestamptz,
    end_announced_at   timestamptz,
    CONSTRAINT links_pkey PRIMARY KEY (link_id),
    CONSTRAINT links_request_fkey FOREIGN KEY (project_id, request_id)
        REFERENCES pgcourier.requests (project_id, request_id) ON DELETE CASCADE,
    CONSTRAINT links_are_used_within_their_count CHECK (max_downloads = 0 OR downloads <= max_downloads)
);

CREATE INDEX links_of_request ON pgcourier.links (project_id, request_id);
CREATE INDEX links_issue_unannounced ON pgcourier.links (issued_at) WHERE issue_announced_at IS NULL;
CREATE INDEX links_end_unannounced ON pgcourier.links (least(revoked_at, expires_at)) WHERE end_announced_at IS NULL;

COMMENT ON TABLE pgcourier.links IS 'Download links. What opens the file is made of a row and the link key; it is kept nowhere.';
COMMENT ON COLUMN pgcourier.links.of_request IS 'The request asked for it, by deliver.';
COMMENT ON COLUMN pgcourier.links.max_downloads IS '0: as often as one likes.';
COMMENT ON COLUMN pgcourier.links.downloads IS 'That have begun.';
COMMENT ON COLUMN pgcourier.links.issue_announced_at IS 'When the broker was known to hold backup.link_issued.';
COMMENT ON COLUMN pgcourier.links.end_announced_at IS 'When it was known to hold backup.link_revoked or backup.link_expired.';

CREATE TABLE pgcourier.downloads (
    download_id   text        NOT NULL,
    project_id    text        NOT NULL,
    request_id    text        NOT NULL,
    link_id       text,
    client        bytea       NOT NULL,
    downloaded_by text        NOT NULL,
    address       text        NOT NULL,
    user_agent    text        NOT NULL,
    redirected    boolean     NOT NULL,
    bytes         bigint      NOT NULL DEFAULT 0,
    whole         boolean     NOT NULL DEFAULT false,
    over          boolean     NOT NULL DEFAULT false,
    started_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    touched_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    announced_at  timestamptz,
    CONSTRAINT downloads_pkey PRIMARY KEY (download_id),
    CONSTRAINT downloads_request_fkey FOREIGN KEY (project_id, request_id)
        REFERENCES pgcourier.requests (project_id, request_id) ON DELETE CASCADE
);

CREATE INDEX downloads_open ON pgcourier.downloads (project_id, request_id, client) WHERE NOT over;
CREATE INDEX downloads_unannounced ON pgcourier.downloads (touched_at) WHERE announced_at IS NULL;

COMMENT ON TABLE pgcourier.downloads IS 'Downloads of stored exports, over links and by the API.';
COMMENT ON COLUMN pgcourier.downloads.client IS 'Digest of the address and of what the client calls itself: a resumed transfer is recognised by it.';
COMMENT ON COLUMN pgcourier.downloads.over IS 'All was sent, or the client was sent to the storage: a further request is another download.';
COMMENT ON COLUMN pgcourier.downloads.announced_at IS 'When the broker was known to hold backup.downloaded.';

ALTER TABLE pgcourier.requests ADD COLUMN delivered_at timestamptz;

CREATE INDEX requests_to_deliver ON pgcourier.requests (finished_at)
    WHERE state = 'completed' AND removed_at IS NULL AND delivered_at IS NULL AND NOT refused
        AND position('"deliver":{'::bytea IN payload) > 0;

COMMENT ON INDEX pgcourier.requests_to_deliver IS 'The canonical request has the text only where it has deliver: within a string the quotes are escaped, and no label has an object for its value.';
COMMENT ON COLUMN pgcourier.requests.delivered_at IS 'When the link that the request asked for was issued.';

---- create above / drop below ----

DROP INDEX pgcourier.requests_to_deliver;
ALTER TABLE pgcourier.requests DROP COLUMN delivered_at;
DROP TABLE pgcourier.downloads, pgcourier.links;
