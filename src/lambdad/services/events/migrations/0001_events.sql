-- Event buses, their rules with targets, archives with their events, replays. Ids are never used twice.

-- A default bus has a row only where something of it has been set.
CREATE TABLE event_buses (
    account TEXT NOT NULL,
    region TEXT NOT NULL,
    name TEXT NOT NULL,
    settings TEXT NOT NULL,             -- a JSON object: members of CreateEventBus, Policy, Tags
    created_at_ms INTEGER NOT NULL,
    modified_at_ms INTEGER NOT NULL,
    PRIMARY KEY (account, region, name)
) STRICT;

CREATE TABLE event_rules (
    account TEXT NOT NULL,
    region TEXT NOT NULL,
    bus TEXT NOT NULL,
    name TEXT NOT NULL,
    definition TEXT NOT NULL,           -- a JSON object: members of PutRule, Targets, Tags
    anchor_ms INTEGER NOT NULL,         -- from which a rate counts
    next_at_ms INTEGER,                 -- when its schedule starts it next; NULL: never
    PRIMARY KEY (account, region, bus, name)
) STRICT;

CREATE INDEX event_rules_by_next ON event_rules (next_at_ms) WHERE next_at_ms IS NOT NULL;

CREATE TABLE event_archives (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    account TEXT NOT NULL,
    region TEXT NOT NULL,
    name TEXT NOT NULL,
    bus TEXT NOT NULL,
    settings TEXT NOT NULL,             -- a JSON object: Description, EventPattern, RetentionDays, KmsKeyIdentifier
    created_at_ms INTEGER NOT NULL,
    event_count INTEGER NOT NULL,
    size_bytes INTEGER NOT NULL,
    UNIQUE (account, region, name)
) STRICT;

CREATE TABLE event_archived (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    archive_id INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,             -- the event's time
    body TEXT NOT NULL
) STRICT;

CREATE INDEX event_archived_by_time ON event_archived (archive_id, at_ms, id);

-- Archives that were deleted and whose events are still to be removed.
CREATE TABLE event_discards (
    archive_id INTEGER PRIMARY KEY
) STRICT;

CREATE TABLE event_replays (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    account TEXT NOT NULL,
    region TEXT NOT NULL,
    name TEXT NOT NULL,
    request TEXT NOT NULL,              -- a JSON object: Description, EventSourceArn, Destination
    archive_id INTEGER NOT NULL,
    state TEXT NOT NULL,
    state_reason TEXT NOT NULL,
    begin_ms INTEGER NOT NULL,
    end_ms INTEGER NOT NULL,
    cursor_ms INTEGER NOT NULL,         -- what has been replayed: events up to this time and id
    cursor_id INTEGER NOT NULL,
    started_at_ms INTEGER NOT NULL,
    ended_at_ms INTEGER,
    UNIQUE (account, region, name)
) STRICT;

CREATE INDEX event_replays_by_state ON event_replays (state, id);
