CREATE INDEX requests_over ON pgcourier.requests (greatest(published_at, removed_at))
    WHERE published_at IS NOT NULL AND (state = 'failed' OR removed_at IS NOT NULL);

COMMENT ON INDEX pgcourier.requests_over IS 'Requests of which nothing is stored, by when they were over: what is to be forgotten.';

---- create above / drop below ----

DROP INDEX pgcourier.requests_over;
