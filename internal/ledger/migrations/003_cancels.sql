ALTER TABLE pgcourier.requests ADD COLUMN cancel_at timestamptz, ADD COLUMN cancel_by text;

COMMENT ON COLUMN pgcourier.requests.cancel_at IS 'When it was told to end without an export. From then on its one outcome is failed with the code cancelled, whoever records it.';
COMMENT ON COLUMN pgcourier.requests.cancel_by IS 'Who cancelled it, for humans; empty: not said.';

---- create above / drop below ----

ALTER TABLE pgcourier.requests DROP COLUMN cancel_at, DROP COLUMN cancel_by;
