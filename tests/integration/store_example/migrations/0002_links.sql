-- A reference that is only looked at when the transaction ends, so that a commit can fail.
CREATE TABLE link (
    entry_id INTEGER NOT NULL REFERENCES entry (id) DEFERRABLE INITIALLY DEFERRED
) STRICT;

ALTER TABLE entry ADD COLUMN note TEXT;

-- name: index_notes
CREATE INDEX entry_by_note ON entry (note) WHERE note IS NOT NULL;
INSERT INTO pair (left_name, right_name) VALUES ('dialect', 'sqlite; -- not a comment');

-- postgres: index_notes
CREATE INDEX entry_by_note ON entry (note) WHERE note IS NOT NULL;
INSERT INTO pair (left_name, right_name) VALUES ('dialect', 'postgres');
