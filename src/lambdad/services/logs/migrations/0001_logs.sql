-- Log groups, their streams, and the events in chunks. Ids are never used twice.

CREATE TABLE log_groups (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    account TEXT NOT NULL,
    region TEXT NOT NULL,
    name TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    retention_days INTEGER,
    class TEXT NOT NULL,
    deletion_protected INTEGER NOT NULL,
    stored_bytes INTEGER NOT NULL,
    tags TEXT NOT NULL,  -- a JSON object
    UNIQUE (account, region, name)
) STRICT;

CREATE INDEX log_groups_by_retention ON log_groups (id) WHERE retention_days IS NOT NULL;

CREATE TABLE log_streams (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    group_id INTEGER NOT NULL,
    name TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    first_event_at_ms INTEGER,            -- NULL: there are no events
    last_event_at_ms INTEGER NOT NULL,    -- 0: there never were any
    last_ingested_at_ms INTEGER NOT NULL, -- 0: nothing ever was
    stored_bytes INTEGER NOT NULL,
    UNIQUE (group_id, name)
) STRICT;

CREATE INDEX log_streams_by_last_event ON log_streams (group_id, last_event_at_ms, name);

CREATE TABLE log_chunks (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    group_id INTEGER NOT NULL,
    stream_id INTEGER NOT NULL,
    first_ms INTEGER NOT NULL,
    last_ms INTEGER NOT NULL,
    ingested_at_ms INTEGER NOT NULL,
    events INTEGER NOT NULL,
    size_bytes INTEGER NOT NULL,
    payload BLOB NOT NULL
) STRICT;

CREATE INDEX log_chunks_by_group ON log_chunks (group_id, first_ms, id);
CREATE INDEX log_chunks_by_stream ON log_chunks (stream_id, first_ms, id);

-- Groups and streams that were deleted and whose chunks are still to be removed.
CREATE TABLE log_discards (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    group_id INTEGER NOT NULL,
    stream_id INTEGER  -- NULL: the whole group
) STRICT;
