ALTER TABLE pgcourier.restores ADD COLUMN kept_gone_at timestamptz;

COMMENT ON COLUMN pgcourier.restores.kept_gone_at IS 'When the restorer found that the target no longer has the schemas that the restore set aside. Until then they are looked for, and the row stays.';

---- create above / drop below ----

ALTER TABLE pgcourier.restores DROP COLUMN kept_gone_at;
