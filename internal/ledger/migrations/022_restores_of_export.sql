CREATE INDEX restores_of_export ON pgcourier.restores (from_project, from_request);
CREATE INDEX restores_unresolved ON pgcourier.restores (created_at) WHERE from_request IS NULL AND NOT refused;

COMMENT ON INDEX pgcourier.restores_of_export IS 'The restores of one export, for its page in the console.';
COMMENT ON INDEX pgcourier.restores_unresolved IS 'Restores that no attempt has found an export for. They belong to the export that they name.';

---- create above / drop below ----

DROP INDEX pgcourier.restores_of_export, pgcourier.restores_unresolved;
