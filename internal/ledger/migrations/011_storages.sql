CREATE TABLE pgcourier.storages (
    place     text        NOT NULL,
    storage   text        NOT NULL,
    lies_on   text        NOT NULL,
    marked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT storages_pkey PRIMARY KEY (place)
);

COMMENT ON TABLE pgcourier.storages IS 'Which storage lies at each place that exports go to, by its marker: an empty folder in the place of a file system that is not mounted is noticed. A worker needs SELECT and INSERT.';
COMMENT ON COLUMN pgcourier.storages.place IS 'The destination''s address, the same for every worker and never a secret.';
COMMENT ON COLUMN pgcourier.storages.storage IS 'The name in the marker there.';
COMMENT ON COLUMN pgcourier.storages.lies_on IS 'The file system that it lay on when it was noted, such as ext4 on /dev/sdb1 at /srv; empty: none of its own.';
COMMENT ON COLUMN pgcourier.storages.marked_at IS 'When it was noted.';

---- create above / drop below ----

DROP TABLE pgcourier.storages;
