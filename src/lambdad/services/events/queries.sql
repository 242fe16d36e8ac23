-- name: all_buses
-- Every bus that has a row.
SELECT account, region, name, settings, created_at_ms, modified_at_ms FROM event_buses;

-- name: put_bus
-- Write a bus.
INSERT INTO event_buses (account, region, name, settings, created_at_ms, modified_at_ms)
VALUES (:account, :region, :name, :settings, :created_at_ms, :modified_at_ms)
ON CONFLICT (account, region, name) DO UPDATE SET settings = excluded.settings, modified_at_ms = excluded.modified_at_ms;

-- name: delete_bus
-- Remove a bus.
DELETE FROM event_buses WHERE account = :account AND region = :region AND name = :name;

-- name: all_rules
-- Every rule.
SELECT account, region, bus, name, definition, anchor_ms, next_at_ms FROM event_rules;

-- name: put_rule
-- Write a rule.
INSERT INTO event_rules (account, region, bus, name, definition, anchor_ms, next_at_ms)
VALUES (:account, :region, :bus, :name, :definition, :anchor_ms, :next_at_ms)
ON CONFLICT (account, region, bus, name) DO UPDATE SET
    definition = excluded.definition, anchor_ms = excluded.anchor_ms, next_at_ms = excluded.next_at_ms;

-- name: put_definition
-- Write a rule, but leave the times of its schedule alone.
UPDATE event_rules SET definition = :definition
WHERE account = :account AND region = :region AND bus = :bus AND name = :name;

-- name: delete_rule
-- Remove a rule.
DELETE FROM event_rules WHERE account = :account AND region = :region AND bus = :bus AND name = :name;

-- name: due_rules
-- Rules whose time has come, the one that has waited longest first.
SELECT account, region, bus, name, next_at_ms FROM event_rules
WHERE next_at_ms IS NOT NULL AND next_at_ms <= :now_ms ORDER BY next_at_ms LIMIT :limit;

-- name: next_rule
-- When the next rule's time comes.
SELECT MIN(next_at_ms) AS next_at_ms FROM event_rules WHERE next_at_ms IS NOT NULL;

-- name: advance_rule
-- Go on to a rule's next time, unless somebody else has.
UPDATE event_rules SET next_at_ms = :next_at_ms
WHERE account = :account AND region = :region AND bus = :bus AND name = :name AND next_at_ms = :expected_ms;

-- name: all_archives
-- Every archive.
SELECT id, account, region, name, bus, settings, created_at_ms FROM event_archives;

-- name: insert_archive
-- Make an archive.
INSERT INTO event_archives (account, region, name, bus, settings, created_at_ms, event_count, size_bytes)
VALUES (:account, :region, :name, :bus, :settings, :created_at_ms, 0, 0) RETURNING id;

-- name: set_archive
-- Change an archive's settings.
UPDATE event_archives SET settings = :settings WHERE id = :id;

-- name: get_archive_size
-- What an archive holds.
SELECT event_count, size_bytes FROM event_archives WHERE id = :id;

-- name: count_archived
-- Count what has come into an archive, or has left it.
UPDATE event_archives SET event_count = event_count + :events, size_bytes = size_bytes + :size_bytes WHERE id = :id;

-- name: delete_archive
-- Remove an archive; its events are removed by and by.
DELETE FROM event_archives WHERE id = :id;

-- name: insert_archived
-- Keep an event in an archive.
INSERT INTO event_archived (archive_id, at_ms, body) VALUES (:archive_id, :at_ms, :body);

-- name: archived_between
-- Events of an archive behind a cursor, in order of time.
SELECT id, at_ms, body FROM event_archived
WHERE archive_id = :archive_id AND (at_ms, id) > (:cursor_ms, :cursor_id) AND at_ms < :end_ms
ORDER BY at_ms, id LIMIT :limit;

-- name: expired_archived
-- Events of an archive that are older than it keeps them.
SELECT id, body FROM event_archived WHERE archive_id = :archive_id AND at_ms < :before_ms ORDER BY at_ms, id LIMIT :limit;

-- name: insert_discard
-- Note that an archive's events are to be removed.
INSERT INTO event_discards (archive_id) VALUES (:archive_id);

-- name: next_discard
-- Whose events are to be removed first.
SELECT archive_id FROM event_discards ORDER BY archive_id LIMIT 1;

-- name: discard_archived
-- Remove some events of an archive that is gone.
DELETE FROM event_archived WHERE id IN (SELECT id FROM event_archived WHERE archive_id = :archive_id LIMIT :limit);

-- name: delete_discard
-- All of it has been removed.
DELETE FROM event_discards WHERE archive_id = :archive_id;

-- name: delete_archived
-- Remove an event from an archive.
DELETE FROM event_archived WHERE id = :id;

-- name: insert_replay
-- Begin a replay.
INSERT INTO event_replays (account, region, name, request, archive_id, state, state_reason, begin_ms, end_ms, cursor_ms, cursor_id,
    started_at_ms, ended_at_ms)
VALUES (:account, :region, :name, :request, :archive_id, :state, '', :begin_ms, :end_ms, :cursor_ms, 0, :started_at_ms, NULL)
ON CONFLICT (account, region, name) DO NOTHING;

-- name: get_replay
-- Find a replay by its name.
SELECT id, account, region, name, request, archive_id, state, state_reason, begin_ms, end_ms, cursor_ms, cursor_id, started_at_ms, ended_at_ms
FROM event_replays WHERE account = :account AND region = :region AND name = :name;

-- name: replays_by_name
-- Replays of an account in a region, in order of names.
SELECT id, account, region, name, request, archive_id, state, state_reason, begin_ms, end_ms, cursor_ms, cursor_id, started_at_ms, ended_at_ms
FROM event_replays WHERE account = :account AND region = :region AND name > :after ORDER BY name;

-- name: replays_under_way
-- Replays that are not done.
SELECT id, account, region, name, request, archive_id, state, state_reason, begin_ms, end_ms, cursor_ms, cursor_id, started_at_ms, ended_at_ms
FROM event_replays WHERE state IN ('STARTING', 'RUNNING', 'CANCELLING') ORDER BY id LIMIT :limit;

-- name: advance_replay
-- Note how far a replay has come, unless it has been cancelled meanwhile.
UPDATE event_replays SET state = :state, state_reason = :state_reason, cursor_ms = :cursor_ms, cursor_id = :cursor_id, ended_at_ms = :ended_at_ms
WHERE id = :id AND state = :expected AND cursor_ms = :expected_ms AND cursor_id = :expected_id;

-- name: cancel_replay
-- Let a replay end before it has come to its end.
UPDATE event_replays SET state = 'CANCELLING'
WHERE account = :account AND region = :region AND name = :name AND state IN ('STARTING', 'RUNNING');
