-- name: insert_entry
-- Append an entry.
INSERT INTO entry (id, at_ms, body) VALUES (:id, :at_ms, :body);

-- name: find_entry
-- Read one.
SELECT id, at_ms, body FROM entry WHERE id = :id;
