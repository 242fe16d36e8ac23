-- Mappings from queues to functions. Deleting a function leaves its mappings.
CREATE TABLE lambda_event_source_mapping (
    uuid          TEXT NOT NULL PRIMARY KEY,
    configuration TEXT NOT NULL
);
