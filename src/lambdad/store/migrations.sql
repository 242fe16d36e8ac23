-- name: create_records
-- Remember which migrations were applied.
CREATE TABLE IF NOT EXISTS lambdad_migration (
    namespace     TEXT NOT NULL,
    number        INTEGER NOT NULL,
    name          TEXT NOT NULL,
    checksum      TEXT NOT NULL,
    applied_at_ms INTEGER NOT NULL,
    PRIMARY KEY (namespace, number)
);

-- name: records
-- Read what was applied for one namespace.
SELECT number, name, checksum FROM lambdad_migration WHERE namespace = :namespace ORDER BY number;

-- name: insert_record
-- Remember that a migration was applied.
INSERT INTO lambdad_migration (namespace, number, name, checksum, applied_at_ms)
VALUES (:namespace, :number, :name, :checksum, :applied_at_ms);
