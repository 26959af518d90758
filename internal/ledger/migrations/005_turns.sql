CREATE INDEX requests_running ON pgcourier.requests (project_id) WHERE state = 'running';

---- create above / drop below ----

DROP INDEX pgcourier.requests_running;
