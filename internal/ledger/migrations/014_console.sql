CREATE INDEX downloads_of_request ON pgcourier.downloads (project_id, request_id, started_at);

COMMENT ON INDEX pgcourier.downloads_of_request IS 'The downloads of one export, for its page in the console and for the deletion of its request.';

---- create above / drop below ----

DROP INDEX pgcourier.downloads_of_request;
