ALTER TABLE pgcourier.requests ADD COLUMN removed_at timestamptz;

COMMENT ON COLUMN pgcourier.requests.removed_at IS 'When its export was deleted from every destination. The outcome stays as it was announced.';

---- create above / drop below ----

ALTER TABLE pgcourier.requests DROP COLUMN removed_at;
