-- name: next_layer_version
-- Count a layer's versions up, and give the new number; the first one is 1.
INSERT INTO lambda_layer (account, region, name, last_version)
VALUES (:account, :region, :name, 1)
ON CONFLICT (account, region, name) DO UPDATE SET
    last_version = lambda_layer.last_version + 1
RETURNING last_version;

-- name: insert_layer_version
INSERT INTO lambda_layer_version
    (account, region, name, version, code_sha256, code_size_bytes, unzipped_bytes, details)
VALUES (:account, :region, :name, :version, :code_sha256, :code_size_bytes, :unzipped_bytes, :details);

-- name: layer_version
SELECT account, region, name, version, code_sha256, code_size_bytes, unzipped_bytes, details, policy, policy_revision_id
FROM lambda_layer_version
WHERE account = :account AND region = :region AND name = :name AND version = :version;

-- name: versions_of_layer
-- Newest first.
SELECT account, region, name, version, code_sha256, code_size_bytes, unzipped_bytes, details, policy, policy_revision_id
FROM lambda_layer_version
WHERE account = :account AND region = :region AND name = :name
ORDER BY version DESC;

-- name: layer_versions_in_region
-- By layer, newest first.
SELECT account, region, name, version, code_sha256, code_size_bytes, unzipped_bytes, details, policy, policy_revision_id
FROM lambda_layer_version
WHERE account = :account AND region = :region
ORDER BY name, version DESC;

-- name: delete_layer_version
DELETE FROM lambda_layer_version
WHERE account = :account AND region = :region AND name = :name AND version = :version;

-- name: put_layer_version_policy
UPDATE lambda_layer_version
SET policy = :policy, policy_revision_id = :policy_revision_id
WHERE account = :account AND region = :region AND name = :name AND version = :version;

-- name: layer_code_sizes
SELECT account, region, SUM(code_size_bytes) AS size_bytes
FROM lambda_layer_version
GROUP BY account, region;

-- name: layer_code_hashes
SELECT DISTINCT code_sha256
FROM lambda_layer_version;
