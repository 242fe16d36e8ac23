-- What the migrations come to.
CREATE TABLE entry (
    id    INTEGER PRIMARY KEY,
    name  TEXT NOT NULL UNIQUE,
    count INTEGER NOT NULL DEFAULT 0 CHECK (count >= 0),
    ratio REAL,
    body  BLOB,
    note  TEXT
) STRICT;

CREATE INDEX entry_by_note ON entry (note) WHERE note IS NOT NULL;

CREATE TABLE link (
    entry_id INTEGER NOT NULL REFERENCES entry (id) DEFERRABLE INITIALLY DEFERRED
) STRICT;

CREATE TABLE pair (
    left_name  TEXT NOT NULL,
    right_name TEXT NOT NULL,
    PRIMARY KEY (left_name, right_name)
) STRICT, WITHOUT ROWID;
