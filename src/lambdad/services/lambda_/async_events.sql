-- name: insert_event
-- Keep an event that is about to be acknowledged.
INSERT INTO lambda_async_event
    (request_id, account, region, name, qualifier, payload, trace_id, accepted_at_ms, due_at_ms, attempts, held_back)
VALUES
    (:request_id, :account, :region, :name, :qualifier, :payload, :trace_id, :accepted_at_ms, :accepted_at_ms, 0, 0);

-- name: due_events
-- Events whose time has come, the one waiting longest first.
SELECT request_id, account, region, name, qualifier, payload, trace_id, accepted_at_ms, attempts, held_back,
    response, function_error, executed_version
FROM lambda_async_event
WHERE due_at_ms <= :now_ms
ORDER BY due_at_ms, request_id
LIMIT :most;

-- name: next_due
-- When the next event that is not due yet will be.
SELECT MIN(due_at_ms) AS due_at_ms FROM lambda_async_event WHERE due_at_ms > :now_ms;

-- name: postpone_event
-- Try an event again later.
UPDATE lambda_async_event
SET due_at_ms = :due_at_ms, attempts = :attempts, held_back = :held_back,
    response = :response, function_error = :function_error, executed_version = :executed_version
WHERE request_id = :request_id;

-- name: delete_event
-- Forget an event that has run, or is given up.
DELETE FROM lambda_async_event WHERE request_id = :request_id;

-- name: count_events
-- How many events wait or run.
SELECT COUNT(*) AS events FROM lambda_async_event;
