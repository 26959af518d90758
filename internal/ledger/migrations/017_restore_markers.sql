ALTER TABLE pgcourier.restores ADD COLUMN marker text DEFAULT md5(random()::text || clock_timestamp()::text);

UPDATE pgcourier.restores SET marker = NULL WHERE placing_at IS NOT NULL AND state IN ('waiting', 'running');

COMMENT ON COLUMN pgcourier.restores.marker IS 'Part of the id of the marker in the target, so that a marker outlives its row without being taken for that of a later restore with the same restore_id. NULL: an attempt began to change the target before migration 17, and the marker''s id is that of the restore alone.';

---- create above / drop below ----

ALTER TABLE pgcourier.restores DROP COLUMN marker;
