CREATE INDEX requests_completed ON pgcourier.requests (project_id, finished_at) WHERE state = 'completed';

---- create above / drop below ----

DROP INDEX pgcourier.requests_completed;
