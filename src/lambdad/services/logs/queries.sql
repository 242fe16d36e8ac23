-- name: insert_group
-- Make a group unless its name is taken.
INSERT INTO log_groups (account, region, name, created_at_ms, retention_days, class, deletion_protected, stored_bytes, tags)
VALUES (:account, :region, :name, :created_at_ms, NULL, :class, :deletion_protected, 0, :tags)
ON CONFLICT (account, region, name) DO NOTHING;

-- name: get_group
-- Find a group by its name.
SELECT *, (SELECT COUNT(*) FROM log_metric_filters AS f WHERE f.group_id = log_groups.id) AS metric_filters FROM log_groups
WHERE account = :account AND region = :region AND name = :name;

-- name: has_groups
-- Say whether an account has more groups in a region than a number.
SELECT id FROM log_groups WHERE account = :account AND region = :region LIMIT 1 OFFSET :number;

-- name: groups_by_name
-- A page of groups in order of names.
SELECT *, (SELECT COUNT(*) FROM log_metric_filters AS f WHERE f.group_id = log_groups.id) AS metric_filters FROM log_groups
WHERE account = :account AND region = :region AND name > :after AND name >= :prefix AND name < :prefix_end
  AND (:pattern = '' OR instr(name, :pattern) > 0) AND (:class = '' OR class = :class)
ORDER BY name LIMIT :limit;

-- postgres: groups_by_name
SELECT *, (SELECT COUNT(*) FROM log_metric_filters AS f WHERE f.group_id = log_groups.id) AS metric_filters FROM log_groups
WHERE account = :account AND region = :region AND name > :after AND name >= :prefix AND name < :prefix_end
  AND (:pattern = '' OR strpos(name, :pattern) > 0) AND (:class = '' OR class = :class)
ORDER BY name LIMIT :limit;

-- name: groups_with_retention
-- Groups whose events grow too old, in order of ids.
SELECT id, retention_days FROM log_groups WHERE retention_days IS NOT NULL AND id > :after ORDER BY id LIMIT :limit;

-- name: set_retention
-- Keep a group's events for a number of days, or for ever.
UPDATE log_groups SET retention_days = :retention_days WHERE account = :account AND region = :region AND name = :name;

-- name: set_deletion_protection
-- Allow or forbid that a group is deleted.
UPDATE log_groups SET deletion_protected = :deletion_protected
WHERE account = :account AND region = :region AND name = :name;

-- name: set_group_tags
-- Replace a group's tags.
UPDATE log_groups SET tags = :tags WHERE id = :id;

-- name: add_group_bytes
-- Count what was stored in a group, or removed from it.
UPDATE log_groups SET stored_bytes = CASE WHEN stored_bytes + :size_bytes > 0 THEN stored_bytes + :size_bytes ELSE 0 END
WHERE id = :id;

-- name: delete_group
-- Remove a group.
DELETE FROM log_groups WHERE id = :id;

-- name: insert_stream
-- Make a stream unless its name is taken.
INSERT INTO log_streams (group_id, name, created_at_ms, first_event_at_ms, last_event_at_ms, last_ingested_at_ms, stored_bytes)
VALUES (:group_id, :name, :created_at_ms, NULL, 0, 0, 0)
ON CONFLICT (group_id, name) DO NOTHING;

-- name: get_stream
-- Find a stream by its name.
SELECT * FROM log_streams WHERE group_id = :group_id AND name = :name;

-- name: get_stream_id
-- Say whether a stream is there.
SELECT id FROM log_streams WHERE id = :id;

-- name: streams_by_name
-- A page of streams in order of names.
SELECT * FROM log_streams
WHERE group_id = :group_id AND name > :after AND name >= :prefix AND name < :prefix_end
ORDER BY name LIMIT :limit;

-- name: streams_by_name_descending
-- A page of streams in descending order of names.
SELECT * FROM log_streams
WHERE group_id = :group_id AND name < :before AND name >= :prefix AND name < :prefix_end
ORDER BY name DESC LIMIT :limit;

-- name: streams_by_last_event
-- A page of streams in order of their last events.
SELECT * FROM log_streams
WHERE group_id = :group_id AND (last_event_at_ms, name) > (:after_ms, :after)
ORDER BY last_event_at_ms, name LIMIT :limit;

-- name: streams_by_last_event_descending
-- A page of streams, the one with the newest event first.
SELECT * FROM log_streams
WHERE group_id = :group_id AND (last_event_at_ms, name) < (:before_ms, :before)
ORDER BY last_event_at_ms DESC, name DESC LIMIT :limit;

-- name: touch_stream
-- Note what was stored in a stream.
UPDATE log_streams SET
    first_event_at_ms = CASE WHEN first_event_at_ms < :first_ms THEN first_event_at_ms ELSE :first_ms END,
    last_event_at_ms = CASE WHEN last_event_at_ms > :last_ms THEN last_event_at_ms ELSE :last_ms END,
    last_ingested_at_ms = :ingested_at_ms,
    stored_bytes = stored_bytes + :size_bytes
WHERE id = :id;

-- name: refresh_stream
-- Note what is left in a stream after its oldest chunks were removed.
UPDATE log_streams SET
    first_event_at_ms = (SELECT MIN(first_ms) FROM log_chunks WHERE stream_id = :id),
    stored_bytes = CASE WHEN stored_bytes > :size_bytes THEN stored_bytes - :size_bytes ELSE 0 END
WHERE id = :id;

-- name: delete_stream
-- Remove a stream.
DELETE FROM log_streams WHERE id = :id;

-- name: delete_streams
-- Remove all streams of a group.
DELETE FROM log_streams WHERE group_id = :group_id;

-- name: insert_chunk
-- Store a chunk.
INSERT INTO log_chunks (group_id, stream_id, first_ms, last_ms, ingested_at_ms, events, size_bytes, payload)
VALUES (:group_id, :stream_id, :first_ms, :last_ms, :ingested_at_ms, :events, :size_bytes, :payload);

-- name: insert_chunk_for_subscribers
-- Store a chunk and say which id it has.
INSERT INTO log_chunks (group_id, stream_id, first_ms, last_ms, ingested_at_ms, events, size_bytes, payload)
VALUES (:group_id, :stream_id, :first_ms, :last_ms, :ingested_at_ms, :events, :size_bytes, :payload)
RETURNING id;

-- name: chunks_of_stream
-- Chunks of a stream in order of their first events.
SELECT id, first_ms, ingested_at_ms, payload, '' AS stream FROM log_chunks
WHERE stream_id = :stream_id AND (first_ms, id) > (:cursor_ms, :cursor_id) AND first_ms < :end_ms AND last_ms >= :begin_ms
ORDER BY first_ms, id LIMIT :limit;

-- name: chunks_of_stream_descending
-- Chunks of a stream, the one that begins last first.
SELECT id, first_ms, ingested_at_ms, payload, '' AS stream FROM log_chunks
WHERE stream_id = :stream_id AND (first_ms, id) < (:cursor_ms, :cursor_id) AND first_ms > :least_ms AND last_ms >= :begin_ms
ORDER BY first_ms DESC, id DESC LIMIT :limit;

-- name: chunks_of_group
-- Chunks of a group in order of their first events.
SELECT c.id, c.first_ms, c.ingested_at_ms, c.payload, s.name AS stream
FROM log_chunks AS c JOIN log_streams AS s ON s.id = c.stream_id
WHERE c.group_id = :group_id AND (c.first_ms, c.id) > (:cursor_ms, :cursor_id)
  AND c.first_ms < :end_ms AND c.last_ms >= :begin_ms
ORDER BY c.first_ms, c.id LIMIT :limit;

-- name: chunks_of_group_descending
-- Chunks of a group, the one that begins last first.
SELECT c.id, c.first_ms, c.ingested_at_ms, c.payload, s.name AS stream
FROM log_chunks AS c JOIN log_streams AS s ON s.id = c.stream_id
WHERE c.group_id = :group_id AND (c.first_ms, c.id) < (:cursor_ms, :cursor_id)
  AND c.first_ms > :least_ms AND c.last_ms >= :begin_ms
ORDER BY c.first_ms DESC, c.id DESC LIMIT :limit;

-- name: chunks_of_prefix
-- As chunks_of_group, of the streams whose names have a prefix.
SELECT c.id, c.first_ms, c.ingested_at_ms, c.payload, s.name AS stream
FROM log_chunks AS c JOIN log_streams AS s ON s.id = c.stream_id
WHERE c.group_id = :group_id AND (c.first_ms, c.id) > (:cursor_ms, :cursor_id)
  AND c.first_ms < :end_ms AND c.last_ms >= :begin_ms AND s.name >= :prefix AND s.name < :prefix_end
ORDER BY c.first_ms, c.id LIMIT :limit;

-- name: chunks_of_prefix_descending
-- As chunks_of_group_descending, of the streams whose names have a prefix.
SELECT c.id, c.first_ms, c.ingested_at_ms, c.payload, s.name AS stream
FROM log_chunks AS c JOIN log_streams AS s ON s.id = c.stream_id
WHERE c.group_id = :group_id AND (c.first_ms, c.id) < (:cursor_ms, :cursor_id)
  AND c.first_ms > :least_ms AND c.last_ms >= :begin_ms AND s.name >= :prefix AND s.name < :prefix_end
ORDER BY c.first_ms DESC, c.id DESC LIMIT :limit;

-- name: chunks_of_streams
-- As chunks_of_group, of the streams whose ids are in a JSON array.
SELECT c.id, c.first_ms, c.ingested_at_ms, c.payload, s.name AS stream
FROM log_chunks AS c JOIN log_streams AS s ON s.id = c.stream_id
WHERE c.group_id = :group_id AND (c.first_ms, c.id) > (:cursor_ms, :cursor_id)
  AND c.first_ms < :end_ms AND c.last_ms >= :begin_ms
  AND c.stream_id IN (SELECT value FROM json_each(:stream_ids))
ORDER BY c.first_ms, c.id LIMIT :limit;

-- postgres: chunks_of_streams
SELECT c.id, c.first_ms, c.ingested_at_ms, c.payload, s.name AS stream
FROM log_chunks AS c JOIN log_streams AS s ON s.id = c.stream_id
WHERE c.group_id = :group_id AND (c.first_ms, c.id) > (:cursor_ms, :cursor_id)
  AND c.first_ms < :end_ms AND c.last_ms >= :begin_ms
  AND c.stream_id IN (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST(:stream_ids AS JSON)))
ORDER BY c.first_ms, c.id LIMIT :limit;

-- name: chunks_of_streams_descending
-- As chunks_of_group_descending, of the streams whose ids are in a JSON array.
SELECT c.id, c.first_ms, c.ingested_at_ms, c.payload, s.name AS stream
FROM log_chunks AS c JOIN log_streams AS s ON s.id = c.stream_id
WHERE c.group_id = :group_id AND (c.first_ms, c.id) < (:cursor_ms, :cursor_id)
  AND c.first_ms > :least_ms AND c.last_ms >= :begin_ms
  AND c.stream_id IN (SELECT value FROM json_each(:stream_ids))
ORDER BY c.first_ms DESC, c.id DESC LIMIT :limit;

-- postgres: chunks_of_streams_descending
SELECT c.id, c.first_ms, c.ingested_at_ms, c.payload, s.name AS stream
FROM log_chunks AS c JOIN log_streams AS s ON s.id = c.stream_id
WHERE c.group_id = :group_id AND (c.first_ms, c.id) < (:cursor_ms, :cursor_id)
  AND c.first_ms > :least_ms AND c.last_ms >= :begin_ms
  AND c.stream_id IN (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST(:stream_ids AS JSON)))
ORDER BY c.first_ms DESC, c.id DESC LIMIT :limit;

-- name: expired_chunks
-- Chunks of a group all of whose events are older than a time.
SELECT id, stream_id, size_bytes FROM log_chunks
WHERE group_id = :group_id AND first_ms < :before_ms AND last_ms < :before_ms
ORDER BY first_ms, id LIMIT :limit;

-- name: delete_chunk
-- Remove a chunk.
DELETE FROM log_chunks WHERE id = :id;

-- name: insert_discard
-- Note that a group's or a stream's chunks are to be removed.
INSERT INTO log_discards (group_id, stream_id) VALUES (:group_id, :stream_id);

-- name: next_discard
-- What is to be removed first.
SELECT * FROM log_discards ORDER BY id LIMIT 1;

-- name: discard_group_chunks
-- Remove some chunks of a deleted group.
DELETE FROM log_chunks WHERE id IN (SELECT id FROM log_chunks WHERE group_id = :group_id LIMIT :limit);

-- name: discard_stream_chunks
-- Remove some chunks of a deleted stream.
DELETE FROM log_chunks WHERE id IN (SELECT id FROM log_chunks WHERE stream_id = :stream_id LIMIT :limit);

-- name: delete_discard
-- All of it has been removed.
DELETE FROM log_discards WHERE id = :id;

-- name: all_subscription_filters
-- Every group's subscription filters, with what their groups are called.
SELECT g.account, g.region, g.name AS group_name, f.name, f.pattern, f.destination_arn, f.system_fields
FROM log_subscription_filters AS f JOIN log_groups AS g ON g.id = f.group_id
ORDER BY f.group_id, f.name;

-- name: subscription_filters
-- A page of a group's subscription filters in order of names.
SELECT * FROM log_subscription_filters
WHERE group_id = :group_id AND name > :after AND name >= :prefix AND name < :prefix_end
ORDER BY name LIMIT :limit;

-- name: put_subscription_filter
-- Make a subscription filter or change it; it keeps the time at which it was made.
INSERT INTO log_subscription_filters (group_id, name, created_at_ms, pattern, destination_arn, distribution, system_fields)
VALUES (:group_id, :name, :created_at_ms, :pattern, :destination_arn, :distribution, :system_fields)
ON CONFLICT (group_id, name) DO UPDATE SET pattern = :pattern, destination_arn = :destination_arn,
    distribution = :distribution, system_fields = :system_fields;

-- name: delete_subscription_filter
-- Remove a subscription filter.
DELETE FROM log_subscription_filters WHERE group_id = :group_id AND name = :name;

-- name: delete_subscription_filters
-- Remove all subscription filters of a group.
DELETE FROM log_subscription_filters WHERE group_id = :group_id;

-- name: put_metric_filter
-- Make a metric filter or change it; it keeps the time at which it was made.
INSERT INTO log_metric_filters (group_id, name, created_at_ms, pattern, metric_name, metric_namespace, transformation)
VALUES (:group_id, :name, :created_at_ms, :pattern, :metric_name, :metric_namespace, :transformation)
ON CONFLICT (group_id, name) DO UPDATE SET pattern = :pattern, metric_name = :metric_name, metric_namespace = :metric_namespace,
    transformation = :transformation;

-- name: has_metric_filter
-- Say whether a group has a metric filter of a name.
SELECT name FROM log_metric_filters WHERE group_id = :group_id AND name = :name;

-- name: metric_filters
-- A page of an account's metric filters in order of names, then of groups; of one group, or of one metric, where asked for.
SELECT f.*, g.name AS group_name FROM log_metric_filters AS f JOIN log_groups AS g ON g.id = f.group_id
WHERE g.account = :account AND g.region = :region AND (:group_name = '' OR g.name = :group_name)
  AND (f.name, g.name) > (:after, :after_group) AND f.name >= :prefix AND f.name < :prefix_end
  AND (:metric_name = '' OR (f.metric_name = :metric_name AND f.metric_namespace = :metric_namespace))
ORDER BY f.name, g.name LIMIT :limit;

-- name: delete_metric_filter
-- Remove a metric filter.
DELETE FROM log_metric_filters WHERE group_id = :group_id AND name = :name;

-- name: delete_metric_filters
-- Remove all metric filters of a group.
DELETE FROM log_metric_filters WHERE group_id = :group_id;

-- name: get_resource_policy
-- Find a resource policy by its name.
SELECT * FROM log_resource_policies WHERE account = :account AND region = :region AND name = :name;

-- name: put_resource_policy
-- Make a resource policy or replace it.
INSERT INTO log_resource_policies (account, region, name, document, updated_at_ms, revision_id)
VALUES (:account, :region, :name, :document, :updated_at_ms, :revision_id)
ON CONFLICT (account, region, name) DO UPDATE SET document = :document, updated_at_ms = :updated_at_ms, revision_id = :revision_id;

-- name: has_resource_policies
-- Say whether an account has more resource policies in a region than a number.
SELECT name FROM log_resource_policies WHERE account = :account AND region = :region ORDER BY name LIMIT 1 OFFSET :number;

-- name: resource_policies
-- A page of an account's resource policies in order of names.
SELECT * FROM log_resource_policies WHERE account = :account AND region = :region AND name > :after ORDER BY name LIMIT :limit;

-- name: delete_resource_policy
-- Remove a resource policy.
DELETE FROM log_resource_policies WHERE account = :account AND region = :region AND name = :name;

-- name: insert_export_task
-- Begin an export.
INSERT INTO log_export_tasks (task_id, account, region, name, group_name, stream_prefix, from_ms, to_ms, destination, destination_prefix,
    status, message, created_at_ms, completed_at_ms)
VALUES (:task_id, :account, :region, :name, :group_name, :stream_prefix, :from_ms, :to_ms, :destination, :destination_prefix,
    :status, '', :created_at_ms, NULL);

-- name: has_export_task_under_way
-- Say whether an account exports something in a region.
SELECT task_id FROM log_export_tasks WHERE account = :account AND region = :region AND completed_at_ms IS NULL LIMIT 1;

-- name: next_export_task
-- The export that was begun first and is not done.
SELECT * FROM log_export_tasks WHERE completed_at_ms IS NULL ORDER BY id LIMIT 1;

-- name: get_export_task
-- Find an export.
SELECT * FROM log_export_tasks WHERE account = :account AND region = :region AND task_id = :task_id;

-- name: export_tasks
-- A page of an account's exports, the newest first.
SELECT * FROM log_export_tasks
WHERE account = :account AND region = :region AND id < :before AND (:status = '' OR status = :status)
ORDER BY id DESC LIMIT :limit;

-- name: set_export_status
-- Note how far an export is, if it is where it is believed to be.
UPDATE log_export_tasks SET status = :status, message = :message, completed_at_ms = :completed_at_ms
WHERE id = :id AND status = :believed;

-- name: forget_export_tasks
-- Remove an account's oldest exports, all but a number of them.
DELETE FROM log_export_tasks WHERE completed_at_ms IS NOT NULL AND id IN (
    SELECT id FROM log_export_tasks WHERE account = :account AND region = :region ORDER BY id DESC LIMIT 1000 OFFSET :kept
);
