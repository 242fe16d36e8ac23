-- name: all_mappings
-- Everything, to be kept in memory.
SELECT uuid, configuration FROM lambda_event_source_mapping ORDER BY uuid;

-- name: put_mapping
-- Keep a mapping as it is from now on.
INSERT INTO lambda_event_source_mapping (uuid, configuration) VALUES (:uuid, :configuration)
ON CONFLICT (uuid) DO UPDATE SET configuration = excluded.configuration;

-- name: delete_mapping
-- Forget a mapping.
DELETE FROM lambda_event_source_mapping WHERE uuid = :uuid;
