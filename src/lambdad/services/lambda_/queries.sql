-- name: all_functions
SELECT account, region, name, serving, policies, tags, reserved_concurrency
FROM lambda_function;

-- name: all_function_versions
SELECT account, region, name, version, configuration
FROM lambda_function_version;

-- name: all_function_aliases
SELECT account, region, name, alias, configuration
FROM lambda_function_alias;

-- name: all_function_numbering
SELECT account, region, name, next_version
FROM lambda_function_numbering;

-- name: all_provisioned_concurrency
SELECT account, region, name, qualifier, requested, last_modified
FROM lambda_provisioned_concurrency;

-- name: put_provisioned_concurrency
INSERT INTO lambda_provisioned_concurrency (account, region, name, qualifier, requested, last_modified)
VALUES (:account, :region, :name, :qualifier, :requested, :last_modified)
ON CONFLICT (account, region, name, qualifier) DO UPDATE SET
    requested = excluded.requested,
    last_modified = excluded.last_modified;

-- name: delete_provisioned_concurrency
DELETE FROM lambda_provisioned_concurrency
WHERE account = :account AND region = :region AND name = :name AND qualifier = :qualifier;

-- name: delete_function_provisioned_concurrency
DELETE FROM lambda_provisioned_concurrency
WHERE account = :account AND region = :region AND name = :name;

-- name: all_event_invoke_configs
SELECT account, region, name, qualifier, maximum_retry_attempts, maximum_event_age_s, on_success, on_failure, last_modified_ms
FROM lambda_event_invoke_config;

-- name: put_event_invoke_config
INSERT INTO lambda_event_invoke_config
    (account, region, name, qualifier, maximum_retry_attempts, maximum_event_age_s, on_success, on_failure, last_modified_ms)
VALUES
    (:account, :region, :name, :qualifier, :maximum_retry_attempts, :maximum_event_age_s, :on_success, :on_failure, :last_modified_ms)
ON CONFLICT (account, region, name, qualifier) DO UPDATE SET
    maximum_retry_attempts = excluded.maximum_retry_attempts,
    maximum_event_age_s = excluded.maximum_event_age_s,
    on_success = excluded.on_success,
    on_failure = excluded.on_failure,
    last_modified_ms = excluded.last_modified_ms;

-- name: delete_event_invoke_config
DELETE FROM lambda_event_invoke_config
WHERE account = :account AND region = :region AND name = :name AND qualifier = :qualifier;

-- name: delete_function_event_invoke_configs
DELETE FROM lambda_event_invoke_config
WHERE account = :account AND region = :region AND name = :name;

-- name: put_function
INSERT INTO lambda_function (account, region, name, serving, policies, tags, reserved_concurrency)
VALUES (:account, :region, :name, :serving, :policies, :tags, :reserved_concurrency)
ON CONFLICT (account, region, name) DO UPDATE SET
    serving = excluded.serving,
    policies = excluded.policies,
    tags = excluded.tags,
    reserved_concurrency = excluded.reserved_concurrency;

-- name: put_function_version
INSERT INTO lambda_function_version (account, region, name, version, code_sha256, configuration)
VALUES (:account, :region, :name, :version, :code_sha256, :configuration)
ON CONFLICT (account, region, name, version) DO UPDATE SET
    code_sha256 = excluded.code_sha256,
    configuration = excluded.configuration;

-- name: put_function_alias
INSERT INTO lambda_function_alias (account, region, name, alias, configuration)
VALUES (:account, :region, :name, :alias, :configuration)
ON CONFLICT (account, region, name, alias) DO UPDATE SET
    configuration = excluded.configuration;

-- name: put_function_numbering
INSERT INTO lambda_function_numbering (account, region, name, next_version)
VALUES (:account, :region, :name, :next_version)
ON CONFLICT (account, region, name) DO UPDATE SET
    next_version = excluded.next_version;

-- name: delete_function_version
DELETE FROM lambda_function_version
WHERE account = :account AND region = :region AND name = :name AND version = :version;

-- name: delete_function_alias
DELETE FROM lambda_function_alias
WHERE account = :account AND region = :region AND name = :name AND alias = :alias;

-- name: delete_function
DELETE FROM lambda_function
WHERE account = :account AND region = :region AND name = :name;

-- name: delete_function_versions
DELETE FROM lambda_function_version
WHERE account = :account AND region = :region AND name = :name;

-- name: delete_function_aliases
DELETE FROM lambda_function_alias
WHERE account = :account AND region = :region AND name = :name;
