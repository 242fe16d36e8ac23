-- Events that were accepted and have not yet run to an end. The request id is the caller's, and stays over all attempts.
CREATE TABLE lambda_async_event (
    request_id TEXT NOT NULL PRIMARY KEY,
    account TEXT NOT NULL,
    region TEXT NOT NULL,
    name TEXT NOT NULL,
    qualifier TEXT,
    payload BLOB NOT NULL,
    trace_id TEXT NOT NULL,
    accepted_at_ms BIGINT NOT NULL,
    due_at_ms BIGINT NOT NULL,
    attempts INTEGER NOT NULL,
    held_back INTEGER NOT NULL
);

CREATE INDEX lambda_async_event_due ON lambda_async_event (due_at_ms, request_id);
