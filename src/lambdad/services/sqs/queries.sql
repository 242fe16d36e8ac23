-- name: all_queues
-- Every queue, at start.
SELECT id, account, region, name, attributes, tags, secret, created_at_ms, modified_at_ms, purged_at_ms, purged_through
FROM sqs_queues ORDER BY id;

-- name: insert_queue
-- Make a queue.
INSERT INTO sqs_queues (account, region, name, attributes, tags, secret, created_at_ms, modified_at_ms, purged_at_ms, purged_through)
VALUES (:account, :region, :name, :attributes, :tags, :secret, :now_ms, :now_ms, 0, 0) RETURNING id;

-- name: set_attributes
-- Replace a queue's attributes.
UPDATE sqs_queues SET attributes = :attributes, modified_at_ms = :now_ms WHERE id = :id;

-- name: set_tags
-- Replace a queue's tags.
UPDATE sqs_queues SET tags = :tags WHERE id = :id;

-- name: set_purged
-- Say that a queue's messages up to a number are gone.
UPDATE sqs_queues SET purged_at_ms = :now_ms, purged_through = :through_seq WHERE id = :id;

-- name: delete_queue
-- Remove a queue.
DELETE FROM sqs_queues WHERE id = :id;

-- name: put_deleted_queue
-- Remember when a queue was deleted.
INSERT INTO sqs_deleted_queues (account, region, name, deleted_at_ms) VALUES (:account, :region, :name, :now_ms)
ON CONFLICT (account, region, name) DO UPDATE SET deleted_at_ms = excluded.deleted_at_ms;

-- name: deleted_queues
-- Which names cannot be used again yet.
SELECT account, region, name, deleted_at_ms FROM sqs_deleted_queues;

-- name: forget_deleted_queues
-- Names that were deleted long enough ago.
DELETE FROM sqs_deleted_queues WHERE deleted_at_ms <= :before_ms;

-- name: count_messages
-- How many messages each queue has, and the highest of their numbers.
SELECT message.queue_id AS queue_id, COUNT(*) AS messages, MAX(message.seq) AS last_seq
FROM sqs_messages AS message JOIN sqs_queues AS queue ON queue.id = message.queue_id
WHERE message.seq > queue.purged_through GROUP BY message.queue_id;

-- name: insert_message
-- Add a message. If it was received before, then in other queues.
INSERT INTO sqs_messages (queue_id, seq, visible_at_ms, sent_at_ms, receives, receives_before, first_received_at_ms, message_group, message)
VALUES (:queue_id, :seq, :visible_at_ms, :sent_at_ms, :receives, :receives, :first_received_at_ms, :message_group, :message);

-- name: delete_message
-- Remove a message.
DELETE FROM sqs_messages WHERE queue_id = :queue_id AND seq = :seq;

-- name: touch_message
-- Write down what became of a message.
UPDATE sqs_messages SET visible_at_ms = :visible_at_ms, receives = :receives, first_received_at_ms = :first_received_at_ms
WHERE queue_id = :queue_id AND seq = :seq;

-- name: read_message
-- What was sent.
SELECT seq, message_group, message FROM sqs_messages WHERE queue_id = :queue_id AND seq = :seq;

-- name: find_message
-- What is known of one message.
SELECT seq, visible_at_ms, sent_at_ms, receives, receives_before, first_received_at_ms, message_group
FROM sqs_messages WHERE queue_id = :queue_id AND seq = :seq AND seq > :after_seq;

-- name: messages_by_visibility
-- The next messages of a standard queue, from a place on.
SELECT seq, visible_at_ms, sent_at_ms, receives, receives_before, first_received_at_ms, message_group
FROM sqs_messages
WHERE queue_id = :queue_id AND (visible_at_ms, seq) >= (:due_at_ms, :from_seq) AND seq > :after_seq
ORDER BY visible_at_ms, seq LIMIT :limit;

-- name: messages_by_number
-- The next messages of a FIFO queue, from a number on.
SELECT seq, visible_at_ms, sent_at_ms, receives, receives_before, first_received_at_ms, message_group
FROM sqs_messages WHERE queue_id = :queue_id AND seq >= :from_seq AND seq > :after_seq
ORDER BY seq LIMIT :limit;

-- name: oldest_messages
-- The first messages of a queue, to see whether they are too old.
SELECT seq, sent_at_ms FROM sqs_messages WHERE queue_id = :queue_id AND seq > :after_seq ORDER BY seq LIMIT :limit;

-- name: put_deduplication
-- Remember what was sent, unless it is remembered already.
INSERT INTO sqs_deduplications (queue_id, scope, deduplication_id, seq, message_id, expires_at_ms)
VALUES (:queue_id, :scope, :deduplication_id, :seq, :message_id, :expires_at_ms)
ON CONFLICT (queue_id, scope, deduplication_id)
DO UPDATE SET seq = excluded.seq, message_id = excluded.message_id, expires_at_ms = excluded.expires_at_ms
WHERE sqs_deduplications.expires_at_ms <= :now_ms;

-- name: get_deduplication
-- What was sent first.
SELECT seq, message_id FROM sqs_deduplications
WHERE queue_id = :queue_id AND scope = :scope AND deduplication_id = :deduplication_id;

-- name: forget_deduplications
-- Forget what was sent more than five minutes ago, some at once.
DELETE FROM sqs_deduplications WHERE (queue_id, scope, deduplication_id) IN (
    SELECT queue_id, scope, deduplication_id FROM sqs_deduplications WHERE expires_at_ms <= :now_ms LIMIT :limit
);

-- name: insert_discard
-- Have messages removed.
INSERT INTO sqs_discards (queue_id, through_seq) VALUES (:queue_id, :through_seq);

-- name: all_discards
-- What is still to be removed.
SELECT id, queue_id, through_seq FROM sqs_discards ORDER BY id LIMIT :limit;

-- name: discard_messages
-- Remove messages up to a number, some at once.
DELETE FROM sqs_messages WHERE queue_id = :queue_id AND seq IN (
    SELECT seq FROM sqs_messages WHERE queue_id = :queue_id AND seq <= :through_seq ORDER BY seq LIMIT :limit
);

-- name: delete_discard
-- All of it is removed.
DELETE FROM sqs_discards WHERE id = :id;

-- name: put_move_task
-- Write a task down.
INSERT INTO sqs_move_tasks
    (id, source_arn, destination_arn, messages_per_s, status, moved, to_move, started_at_ms, failure_reason)
VALUES (:id, :source_arn, :destination_arn, :messages_per_s, :status, :moved, :to_move, :started_at_ms, :failure_reason)
ON CONFLICT (id) DO UPDATE SET status = excluded.status, moved = excluded.moved, failure_reason = excluded.failure_reason;

-- name: move_tasks_of
-- The last tasks of a source.
SELECT id, source_arn, destination_arn, messages_per_s, status, moved, to_move, started_at_ms, failure_reason
FROM sqs_move_tasks WHERE source_arn = :source_arn ORDER BY started_at_ms DESC, id LIMIT :limit;

-- name: get_move_task
-- One task.
SELECT id, source_arn, destination_arn, messages_per_s, status, moved, to_move, started_at_ms, failure_reason
FROM sqs_move_tasks WHERE id = :id;

-- name: running_move_tasks
-- Tasks that are not done.
SELECT id, source_arn, destination_arn, messages_per_s, status, moved, to_move, started_at_ms, failure_reason
FROM sqs_move_tasks WHERE status IN ('RUNNING', 'CANCELLING') ORDER BY started_at_ms, id;
