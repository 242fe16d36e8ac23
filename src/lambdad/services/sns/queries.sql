-- name: all_topics
-- Every topic.
SELECT arn, account, region, name, attributes, tags, sequence FROM sns_topics;

-- name: put_topic
-- Store a topic, or what has changed about it; its sequence is kept.
INSERT INTO sns_topics (arn, account, region, name, attributes, tags, sequence)
VALUES (:arn, :account, :region, :name, :attributes, :tags, 0)
ON CONFLICT (arn) DO UPDATE SET attributes = excluded.attributes, tags = excluded.tags;

-- name: advance_sequence
-- Note the sequence numbers that a topic has given out.
UPDATE sns_topics SET sequence = :sequence WHERE arn = :arn AND sequence < :sequence;

-- name: delete_topic
-- Remove a topic.
DELETE FROM sns_topics WHERE arn = :arn;

-- name: all_subscriptions
-- Every subscription.
SELECT arn, topic_arn, owner, principal, protocol, endpoint, state, token, changed_at_ms, endpoint_of_links,
    confirmed_by_owner, unsubscribes_by_owner, attributes
FROM sns_subscriptions;

-- name: put_subscription
-- Store a subscription as it is now.
INSERT INTO sns_subscriptions (
    arn, topic_arn, owner, principal, protocol, endpoint, state, token, changed_at_ms, endpoint_of_links,
    confirmed_by_owner, unsubscribes_by_owner, attributes
) VALUES (
    :arn, :topic_arn, :owner, :principal, :protocol, :endpoint, :state, :token, :changed_at_ms, :endpoint_of_links,
    :confirmed_by_owner, :unsubscribes_by_owner, :attributes
)
ON CONFLICT (arn) DO UPDATE SET
    state = excluded.state, token = excluded.token, changed_at_ms = excluded.changed_at_ms,
    confirmed_by_owner = excluded.confirmed_by_owner, unsubscribes_by_owner = excluded.unsubscribes_by_owner,
    attributes = excluded.attributes;

-- name: delete_subscription
-- Forget a subscription.
DELETE FROM sns_subscriptions WHERE arn = :arn;

-- name: delete_subscriptions
-- Forget all subscriptions of a topic.
DELETE FROM sns_subscriptions WHERE topic_arn = :topic_arn;

-- name: claim_deduplication_id
-- Take an id for de-duplication, unless a message that has it was accepted after a time.
INSERT INTO sns_deduplications (topic_arn, scope, deduplication_id, message_id, sequence_number, accepted_at_ms)
VALUES (:topic_arn, :scope, :deduplication_id, :message_id, :sequence_number, :accepted_at_ms)
ON CONFLICT (topic_arn, scope, deduplication_id) DO UPDATE SET
    message_id = excluded.message_id, sequence_number = excluded.sequence_number, accepted_at_ms = excluded.accepted_at_ms
WHERE sns_deduplications.accepted_at_ms <= :before_ms;

-- name: accepted_message
-- The message that has taken an id for de-duplication.
SELECT message_id, sequence_number FROM sns_deduplications
WHERE topic_arn = :topic_arn AND scope = :scope AND deduplication_id = :deduplication_id;

-- name: delete_old_deduplications
-- Forget some of the ids that do not count any more.
DELETE FROM sns_deduplications WHERE (topic_arn, scope, deduplication_id) IN (
    SELECT topic_arn, scope, deduplication_id FROM sns_deduplications WHERE accepted_at_ms <= :before_ms LIMIT :most
);

-- name: delete_deduplications
-- Forget all ids of a topic.
DELETE FROM sns_deduplications WHERE topic_arn = :topic_arn;

-- name: get_signing_key
-- The key that messages are signed with.
SELECT private_key, certificate FROM sns_signing_keys WHERE id = 1;

-- name: put_signing_key
-- Store the key, unless there is one.
INSERT INTO sns_signing_keys (id, private_key, certificate) VALUES (1, :private_key, :certificate)
ON CONFLICT (id) DO NOTHING;
