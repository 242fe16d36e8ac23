-- How asynchronous invocations of a function, version or alias are retried, and who hears of their ends. NULL: AWS's default; '': nobody.
CREATE TABLE lambda_event_invoke_config (
    account                TEXT NOT NULL,
    region                 TEXT NOT NULL,
    name                   TEXT NOT NULL,
    qualifier              TEXT NOT NULL,
    maximum_retry_attempts INTEGER,
    maximum_event_age_s    INTEGER,
    on_success             TEXT NOT NULL,
    on_failure             TEXT NOT NULL,
    last_modified_ms       BIGINT NOT NULL,
    PRIMARY KEY (account, region, name, qualifier)
);

-- What the last attempt that ran came to, for the record of an event that is given up later without having run again.
ALTER TABLE lambda_async_event ADD COLUMN response BLOB;
ALTER TABLE lambda_async_event ADD COLUMN function_error TEXT;
ALTER TABLE lambda_async_event ADD COLUMN executed_version TEXT;
