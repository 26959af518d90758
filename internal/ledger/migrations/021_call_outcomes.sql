ALTER TABLE pgcourier.api_calls ADD COLUMN outcome text;

CREATE INDEX api_calls_unknown ON pgcourier.api_calls (project_id, object) WHERE outcome = 'unknown';

COMMENT ON COLUMN pgcourier.api_calls.outcome IS 'done, failed (nothing was changed) or unknown (the process or its connection ended before the answer); null: an older release noted the call before it was carried out.';

---- create above / drop below ----

DROP INDEX pgcourier.api_calls_unknown;
ALTER TABLE pgcourier.api_calls DROP COLUMN outcome;
