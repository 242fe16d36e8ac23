-- Topics. What was set of a topic is JSON, an object of texts.
CREATE TABLE sns_topics (
    arn TEXT NOT NULL PRIMARY KEY,
    account TEXT NOT NULL,
    region TEXT NOT NULL,
    name TEXT NOT NULL,
    attributes TEXT NOT NULL,
    tags TEXT NOT NULL,
    sequence INTEGER NOT NULL       -- how many sequence numbers a FIFO topic has given out
) STRICT;

-- Subscriptions; the deleted ones that can still be restored among them.
CREATE TABLE sns_subscriptions (
    arn TEXT NOT NULL PRIMARY KEY,
    topic_arn TEXT NOT NULL,
    owner TEXT NOT NULL,
    principal TEXT NOT NULL,
    protocol TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    state TEXT NOT NULL,            -- pending, confirmed, deleted
    token TEXT NOT NULL,
    changed_at_ms INTEGER NOT NULL, -- when the token was given out
    endpoint_of_links TEXT NOT NULL,
    confirmed_by_owner INTEGER NOT NULL,
    unsubscribes_by_owner INTEGER NOT NULL,
    attributes TEXT NOT NULL
) STRICT;

CREATE INDEX sns_subscriptions_by_topic ON sns_subscriptions (topic_arn);

-- What FIFO topics have accepted in the last five minutes.
CREATE TABLE sns_deduplications (
    topic_arn TEXT NOT NULL,
    scope TEXT NOT NULL,            -- a message group, or '' for the topic
    deduplication_id TEXT NOT NULL,
    message_id TEXT NOT NULL,
    sequence_number TEXT NOT NULL,
    accepted_at_ms INTEGER NOT NULL,
    PRIMARY KEY (topic_arn, scope, deduplication_id)
) STRICT;

CREATE INDEX sns_deduplications_by_time ON sns_deduplications (accepted_at_ms);

-- The key that messages are signed with: one row, made when the first message is signed.
CREATE TABLE sns_signing_keys (
    id INTEGER NOT NULL PRIMARY KEY,
    private_key BLOB NOT NULL,      -- PKCS #8, DER
    certificate BLOB NOT NULL       -- X.509, PEM
) STRICT;
