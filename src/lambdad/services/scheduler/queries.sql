-- name: insert_group
-- Make a group unless its name is taken.
INSERT INTO schedule_groups (account, region, name, state, tags, client_token, created_at_ms, modified_at_ms)
VALUES (:account, :region, :name, 'ACTIVE', :tags, :client_token, :now_ms, :now_ms)
ON CONFLICT (account, region, name) DO NOTHING;

-- name: get_group
-- Find a group by its name.
SELECT name, state, tags, client_token, created_at_ms, modified_at_ms FROM schedule_groups
WHERE account = :account AND region = :region AND name = :name;

-- name: groups_by_name
-- A page of groups in order of names.
SELECT name, state, created_at_ms, modified_at_ms FROM schedule_groups
WHERE account = :account AND region = :region AND name > :after AND substr(name, 1, length(:prefix)) = :prefix
ORDER BY name LIMIT :limit;

-- name: count_groups
-- Say how many groups an account has in a region.
SELECT COUNT(*) AS number FROM schedule_groups WHERE account = :account AND region = :region;

-- name: set_group_tags
-- Replace a group's tags.
UPDATE schedule_groups SET tags = :tags WHERE account = :account AND region = :region AND name = :name;

-- name: set_group_deleting
-- Begin to remove a group.
UPDATE schedule_groups SET state = 'DELETING', modified_at_ms = :now_ms
WHERE account = :account AND region = :region AND name = :name AND state = 'ACTIVE';

-- name: deleting_group
-- A group that is to be removed.
SELECT account, region, name FROM schedule_groups WHERE state = 'DELETING' ORDER BY account, region, name LIMIT 1;

-- name: delete_some_schedules
-- Remove some schedules of a group.
DELETE FROM schedules WHERE id IN
    (SELECT id FROM schedules WHERE account = :account AND region = :region AND group_name = :group_name LIMIT :limit);

-- name: delete_group
-- Remove a group that is empty.
DELETE FROM schedule_groups WHERE account = :account AND region = :region AND name = :name AND state = 'DELETING';

-- name: insert_schedule
-- Make a schedule unless its name is taken.
INSERT INTO schedules (account, region, group_name, name, definition, client_token, created_at_ms, modified_at_ms, made_at_ms, version,
    scheduled_at_ms, due_at_ms)
VALUES (:account, :region, :group_name, :name, :definition, :client_token, :now_ms, :now_ms, :now_ms, 1, :scheduled_at_ms, :due_at_ms)
ON CONFLICT (account, region, group_name, name) DO NOTHING;

-- name: get_schedule
-- Find a schedule by its name.
SELECT id, group_name, name, definition, client_token, created_at_ms, modified_at_ms, made_at_ms FROM schedules WHERE account = :account AND region = :region AND group_name = :group_name AND name = :name;

-- name: update_schedule
-- Replace a schedule's definition and times.
UPDATE schedules SET definition = :definition, modified_at_ms = :now_ms, made_at_ms = :made_at_ms, version = version + 1,
    scheduled_at_ms = :scheduled_at_ms, due_at_ms = :due_at_ms
WHERE id = :id;

-- name: delete_schedule
-- Remove a schedule.
DELETE FROM schedules WHERE account = :account AND region = :region AND group_name = :group_name AND name = :name;

-- name: schedules_by_name
-- A page of schedules in order of groups and names.
SELECT group_name, name, definition, created_at_ms, modified_at_ms FROM schedules
WHERE account = :account AND region = :region AND (group_name, name) > (:after_group, :after)
  AND (:group_name = '' OR group_name = :group_name) AND substr(name, 1, length(:prefix)) = :prefix
ORDER BY group_name, name LIMIT :limit;

-- postgres: schedules_by_name
SELECT group_name, name, definition, created_at_ms, modified_at_ms FROM schedules
WHERE account = :account AND region = :region AND (group_name, name) > (:after_group, :after)
  AND (CAST(:group_name AS TEXT) = '' OR group_name = :group_name) AND substr(name, 1, length(:prefix)) = :prefix
ORDER BY group_name, name LIMIT :limit;

-- name: due_schedules
-- Schedules whose time has come, the one that has waited longest first.
SELECT id, account, region, group_name, name, definition, made_at_ms, version, scheduled_at_ms, due_at_ms FROM schedules
WHERE due_at_ms IS NOT NULL AND due_at_ms <= :now_ms ORDER BY due_at_ms, id LIMIT :limit;

-- name: next_schedule
-- When the next schedule's time comes.
SELECT MIN(due_at_ms) AS due_at_ms FROM schedules WHERE due_at_ms IS NOT NULL;

-- name: advance_schedule
-- Go on to a schedule's next time, unless somebody else has, or has changed it.
UPDATE schedules SET scheduled_at_ms = :scheduled_at_ms, due_at_ms = :due_at_ms
WHERE id = :id AND version = :version AND due_at_ms = :expected_ms;

-- name: complete_schedule
-- Remove a schedule after its last time, unless somebody else has, or has changed it.
DELETE FROM schedules WHERE id = :id AND version = :version AND due_at_ms = :expected_ms;
