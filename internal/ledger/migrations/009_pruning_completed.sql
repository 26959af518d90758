ALTER TABLE pgcourier.pruning ADD COLUMN completed_at timestamptz;

COMMENT ON COLUMN pgcourier.pruning.completed_at IS 'When a run over all projects last came to its end. What one destination could not delete is no error of a run.';

---- create above / drop below ----

ALTER TABLE pgcourier.pruning DROP COLUMN completed_at;
