-- Queues, their messages, and what is remembered beside them. Ids and numbers are never used twice.

CREATE TABLE sqs_queues (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    account TEXT NOT NULL,
    region TEXT NOT NULL,
    name TEXT NOT NULL,
    attributes TEXT NOT NULL,  -- a JSON object, defaults included
    tags TEXT NOT NULL,        -- a JSON object
    secret BLOB NOT NULL,      -- what receipt handles are signed with
    created_at_ms INTEGER NOT NULL,
    modified_at_ms INTEGER NOT NULL,
    purged_at_ms INTEGER NOT NULL,
    purged_through INTEGER NOT NULL,  -- messages up to this number are gone, though their rows may still be there
    UNIQUE (account, region, name)
) STRICT;

CREATE TABLE sqs_messages (
    queue_id INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    visible_at_ms INTEGER NOT NULL,
    sent_at_ms INTEGER NOT NULL,
    receives INTEGER NOT NULL,
    receives_before INTEGER NOT NULL,       -- of these, in other queues
    first_received_at_ms INTEGER NOT NULL,  -- 0: never
    message_group TEXT NOT NULL,
    message TEXT NOT NULL,                  -- a JSON object
    PRIMARY KEY (queue_id, seq)
) STRICT, WITHOUT ROWID;

CREATE INDEX sqs_messages_by_visibility ON sqs_messages (queue_id, visible_at_ms, seq);

-- What was sent to FIFO queues in the last five minutes.
CREATE TABLE sqs_deduplications (
    queue_id INTEGER NOT NULL,
    scope TEXT NOT NULL,  -- the message group, or '' where ids are the queue's
    deduplication_id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    message_id TEXT NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    PRIMARY KEY (queue_id, scope, deduplication_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX sqs_deduplications_by_expiry ON sqs_deduplications (expires_at_ms);

-- Names that cannot be used again yet.
CREATE TABLE sqs_deleted_queues (
    account TEXT NOT NULL,
    region TEXT NOT NULL,
    name TEXT NOT NULL,
    deleted_at_ms INTEGER NOT NULL,
    PRIMARY KEY (account, region, name)
) STRICT, WITHOUT ROWID;

-- Messages of deleted and purged queues whose rows are still to be removed.
CREATE TABLE sqs_discards (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    queue_id INTEGER NOT NULL,
    through_seq INTEGER NOT NULL
) STRICT;

CREATE TABLE sqs_move_tasks (
    id TEXT PRIMARY KEY,
    source_arn TEXT NOT NULL,
    destination_arn TEXT NOT NULL,  -- '': to where each message came from
    messages_per_s INTEGER NOT NULL,  -- 0: as fast as it goes
    status TEXT NOT NULL,
    moved INTEGER NOT NULL,
    to_move INTEGER NOT NULL,
    started_at_ms INTEGER NOT NULL,
    failure_reason TEXT NOT NULL
) STRICT;

CREATE INDEX sqs_move_tasks_by_source ON sqs_move_tasks (source_arn, started_at_ms);
