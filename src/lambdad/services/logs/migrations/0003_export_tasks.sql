-- Exports of groups to S3: those that are under way, and the last ones that are not.

CREATE TABLE log_export_tasks (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    task_id TEXT NOT NULL UNIQUE,
    account TEXT NOT NULL,
    region TEXT NOT NULL,
    name TEXT,
    group_name TEXT NOT NULL,
    stream_prefix TEXT NOT NULL,
    from_ms INTEGER NOT NULL,
    to_ms INTEGER NOT NULL,
    destination TEXT NOT NULL,
    destination_prefix TEXT NOT NULL,
    status TEXT NOT NULL,
    message TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    completed_at_ms INTEGER  -- NULL: it is under way
) STRICT;

CREATE INDEX log_export_tasks_by_account ON log_export_tasks (account, region, id);
CREATE INDEX log_export_tasks_under_way ON log_export_tasks (id) WHERE completed_at_ms IS NULL;
