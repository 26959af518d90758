CREATE TABLE pgcourier.retention_rules (
    rule_id  bigint      GENERATED ALWAYS AS IDENTITY,
    projects text        NOT NULL,
    policy   text        NOT NULL,
    set_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    set_by   text        NOT NULL,
    ended_at timestamptz,
    ended_by text,
    CONSTRAINT retention_rules_pkey PRIMARY KEY (rule_id)
);

CREATE UNIQUE INDEX retention_rules_open ON pgcourier.retention_rules (projects) WHERE ended_at IS NULL;

COMMENT ON TABLE pgcourier.retention_rules IS 'Rules of retention that pgcourier apply has set. A changed or removed rule stays, with its end.';
COMMENT ON COLUMN pgcourier.retention_rules.projects IS 'A project id, or the beginning of ids with * at the end.';
COMMENT ON COLUMN pgcourier.retention_rules.policy IS 'As in PGCOURIER_RETENTION; all: everything is kept.';

---- create above / drop below ----

DROP TABLE pgcourier.retention_rules;
