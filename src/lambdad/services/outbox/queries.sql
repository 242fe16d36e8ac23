-- name: insert_delivery
-- Keep a delivery; one behind others of its order_key is not due before they are gone.
INSERT INTO outbox_delivery (lane, order_key, added_at_ms, due_at_ms, attempts, delivery)
VALUES (
    :lane, :order_key, :now_ms,
    CASE
        WHEN :order_key <> '' AND EXISTS (SELECT 1 FROM outbox_delivery WHERE order_key = :order_key AND order_key <> '')
        THEN 9223372036854775807 ELSE :now_ms
    END,
    0, :delivery
);

-- name: lanes
-- Lanes that have deliveries, in order of their names; each costs one look into the index, however long it is.
WITH RECURSIVE found (lane) AS (
    SELECT MIN(lane) FROM outbox_delivery WHERE lane > :after
    UNION ALL
    SELECT (SELECT MIN(following.lane) FROM outbox_delivery AS following WHERE following.lane > found.lane)
    FROM found WHERE found.lane IS NOT NULL
)
SELECT lane FROM found WHERE lane IS NOT NULL LIMIT :most;

-- name: due_ids
-- Deliveries of a lane whose time has come, the one waiting longest first. Reads nothing but the index.
SELECT id FROM outbox_delivery
WHERE lane = :lane AND due_at_ms <= :now_ms
ORDER BY due_at_ms, id LIMIT :most;

-- name: get_deliveries
-- Deliveries by a JSON list of their ids, the one waiting longest first.
SELECT id, lane, order_key, added_at_ms, attempts, delivery FROM outbox_delivery
WHERE id IN (SELECT value FROM json_each(:ids))
ORDER BY due_at_ms, id;

-- postgres: get_deliveries
SELECT id, lane, order_key, added_at_ms, attempts, delivery FROM outbox_delivery
WHERE id IN (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST(:ids AS JSON)))
ORDER BY due_at_ms, id;

-- name: next_due
-- When the next delivery of a lane that is not due yet will be.
SELECT MIN(due_at_ms) AS due_at_ms FROM outbox_delivery
WHERE lane = :lane AND due_at_ms > :now_ms AND due_at_ms < 9223372036854775807;

-- name: delete_delivery
-- Forget a delivery that has arrived, or was given up.
DELETE FROM outbox_delivery WHERE id = :id;

-- name: promote_delivery
-- Let the first of those that wait for each other be due.
UPDATE outbox_delivery SET due_at_ms = :now_ms
WHERE due_at_ms = 9223372036854775807 AND order_key <> ''
  AND id = (SELECT MIN(id) FROM outbox_delivery WHERE order_key = :order_key AND order_key <> '');

-- name: postpone_delivery
-- Try a delivery again later.
UPDATE outbox_delivery SET due_at_ms = :due_at_ms, attempts = :attempts WHERE id = :id;

-- name: count_deliveries
-- How many deliveries are still to be made.
SELECT COUNT(*) AS deliveries FROM outbox_delivery;

-- name: any_due
-- Find one delivery whose time has come; looks at all of them, for tests and statistics.
SELECT id FROM outbox_delivery WHERE due_at_ms <= :now_ms LIMIT 1;
