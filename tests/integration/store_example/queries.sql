-- name: insert_entry
-- Store an entry under a number of its own.
INSERT INTO entry (id, name, count, ratio, body) VALUES (:id, :name, :count, :ratio, :body);

-- name: add_entry
-- Store an entry under the next number, and return that.
INSERT INTO entry (name) VALUES (:name) RETURNING id;

-- name: put_entry
-- Store an entry, or count up the one that is there.
INSERT INTO entry (name, count) VALUES (:name, :count)
ON CONFLICT (name) DO UPDATE SET count = entry.count + excluded.count;

-- name: copy_entries
-- Change rows with a statement that does not begin with its verb.
WITH chosen AS (SELECT name FROM entry WHERE count > :above)
INSERT INTO pair (left_name, right_name) SELECT name, 'copy' FROM chosen;

-- name: delete_entry
-- Remove one.
DELETE FROM entry WHERE name = :name;

-- name: delete_all_entries
-- Remove all.
DELETE FROM entry;

-- name: find_entry
-- Read one.
SELECT id, name, count, ratio, body FROM entry WHERE name = :name;

-- name: all_entries
-- Read all, in order of their names.
SELECT id, name, count, ratio, body FROM entry ORDER BY name;

-- name: names_like
-- Find by a pattern.
SELECT name FROM entry WHERE name LIKE :pattern ESCAPE '\' ORDER BY name;

-- name: summary
-- Answer with what databases have different types for.
SELECT count(*) AS entries, sum(count) AS total, avg(count) AS mean, count(*) > 0 AS is_any, CAST(max(count) AS INTEGER) AS largest,
       '100%' AS percent
FROM entry;

-- name: count_entries
-- Count them.
SELECT count(*) AS entries FROM entry;

-- name: insert_link
-- Refer to an entry, there or not.
INSERT INTO link (entry_id) VALUES (:entry_id);

-- name: dialect
-- Read what the migration left.
SELECT right_name FROM pair WHERE left_name = 'dialect';

-- name: wrong
-- Fail.
SELECT missing FROM nowhere;

-- name: records
-- Read what was applied.
SELECT namespace, number, name, applied_at_ms FROM lambdad_migration ORDER BY namespace, number;

-- name: journal_settings
-- Read how durable a commit of this connection is.
SELECT j.journal_mode AS journal, s.synchronous AS synchronous FROM pragma_journal_mode AS j, pragma_synchronous AS s;

-- postgres: journal_settings
-- Both must be on.
SELECT current_setting('fsync') AS journal, current_setting('synchronous_commit') AS synchronous;

-- name: wait_long
-- Take a second in PostgreSQL, and no time in SQLite.
SELECT 1 AS done;

-- postgres: wait_long
-- Longer than the timeout of the test.
SELECT 1 AS done FROM pg_sleep(1);

-- name: kill_others
-- Do nothing: a connection to SQLite cannot be lost.
SELECT 0 AS killed;

-- postgres: kill_others
-- End every other connection to this database.
SELECT count(pg_terminate_backend(pid)) AS killed FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid();
