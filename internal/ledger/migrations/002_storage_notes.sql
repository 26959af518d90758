CREATE TABLE pgcourier.storage_notes (
    note_id     bigint      GENERATED ALWAYS AS IDENTITY,
    destination text        NOT NULL,
    key         text        NOT NULL,
    ref         text        NOT NULL,
    noted_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT storage_notes_pkey PRIMARY KEY (destination, key, ref)
);

COMMENT ON TABLE pgcourier.storage_notes IS 'What a destination that cannot list its contents (a chat) has accepted for exports that are not complete, so that any worker can remove it. A worker needs SELECT, INSERT and DELETE.';
COMMENT ON COLUMN pgcourier.storage_notes.note_id IS 'The order of noting.';
COMMENT ON COLUMN pgcourier.storage_notes.destination IS 'Which one, the same for every worker and never a secret: telegram: and the chat''s id.';
COMMENT ON COLUMN pgcourier.storage_notes.key IS 'Key of the attempt''s object, as in attempts.object.';
COMMENT ON COLUMN pgcourier.storage_notes.ref IS 'The driver''s reference of a stored part.';
COMMENT ON COLUMN pgcourier.storage_notes.noted_at IS 'When the part was accepted.';
