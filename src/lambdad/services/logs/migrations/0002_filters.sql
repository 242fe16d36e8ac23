-- What groups have besides streams: subscription filters and metric filters. And the account's resource policies.

CREATE TABLE log_subscription_filters (
    group_id INTEGER NOT NULL,
    name TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    pattern TEXT NOT NULL,
    destination_arn TEXT NOT NULL,
    distribution TEXT NOT NULL,
    system_fields TEXT,  -- a JSON array; NULL: none were asked for
    PRIMARY KEY (group_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE log_metric_filters (
    group_id INTEGER NOT NULL,
    name TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    pattern TEXT NOT NULL,
    metric_name TEXT NOT NULL,
    metric_namespace TEXT NOT NULL,
    transformation TEXT NOT NULL,  -- a JSON object, as the API has it
    PRIMARY KEY (group_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE log_resource_policies (
    account TEXT NOT NULL,
    region TEXT NOT NULL,
    name TEXT NOT NULL,
    document TEXT NOT NULL,
    updated_at_ms INTEGER NOT NULL,
    revision_id TEXT NOT NULL,
    PRIMARY KEY (account, region, name)
) STRICT, WITHOUT ROWID;
