ALTER TABLE pgcourier.restores ADD COLUMN unanswered_since timestamptz;
ALTER TABLE pgcourier.restores ADD COLUMN unanswered_at timestamptz;

COMMENT ON COLUMN pgcourier.restores.unanswered_since IS 'When the target was first asked how the restore ended and did not answer. NULL: it has answered since, or was not asked.';
COMMENT ON COLUMN pgcourier.restores.unanswered_at IS 'When it was asked last and did not answer. After a long pause unanswered_since starts again.';

---- create above / drop below ----

ALTER TABLE pgcourier.restores DROP COLUMN unanswered_since, DROP COLUMN unanswered_at;
