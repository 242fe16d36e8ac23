-- Entries, as the queue of asynchronous invocations has them.
CREATE TABLE entry (
    id    INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    body  TEXT NOT NULL
) STRICT;
