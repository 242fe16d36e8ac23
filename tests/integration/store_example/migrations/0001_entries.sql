-- What the store's own tests work on.
CREATE TABLE entry (
    id    INTEGER PRIMARY KEY,
    name  TEXT NOT NULL UNIQUE,
    count INTEGER NOT NULL DEFAULT 0 CHECK (count >= 0),
    ratio REAL,
    body  BLOB
) STRICT;

CREATE TABLE pair (
    left_name  TEXT NOT NULL,
    right_name TEXT NOT NULL,
    PRIMARY KEY (left_name, right_name)
) STRICT, WITHOUT ROWID;
