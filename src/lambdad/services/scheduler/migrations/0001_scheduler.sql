-- Schedules and their groups.

CREATE TABLE schedule_groups (
    account TEXT NOT NULL,
    region TEXT NOT NULL,
    name TEXT NOT NULL,
    state TEXT NOT NULL,                -- ACTIVE or DELETING
    tags TEXT NOT NULL,                 -- a JSON object
    client_token TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    modified_at_ms INTEGER NOT NULL,
    PRIMARY KEY (account, region, name)
) STRICT;

CREATE INDEX schedule_groups_deleting ON schedule_groups (account, region, name) WHERE state = 'DELETING';

CREATE TABLE schedules (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    account TEXT NOT NULL,
    region TEXT NOT NULL,
    group_name TEXT NOT NULL,
    name TEXT NOT NULL,
    definition TEXT NOT NULL,           -- a JSON object: members of CreateSchedule
    client_token TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    modified_at_ms INTEGER NOT NULL,
    made_at_ms INTEGER NOT NULL,        -- from which a rate counts
    version INTEGER NOT NULL,           -- one more with each change
    scheduled_at_ms INTEGER,            -- its next time; NULL: there is none
    due_at_ms INTEGER,                  -- when its target is started for that
    UNIQUE (account, region, group_name, name)
) STRICT;

CREATE INDEX schedules_by_due ON schedules (due_at_ms, id) WHERE due_at_ms IS NOT NULL;
