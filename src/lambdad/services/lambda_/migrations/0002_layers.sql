-- Layers and their versions. What is looked up has a column of its own, the rest is a JSON document.

-- Outlives the layer's versions: a number is never given twice, not even after deletion.
CREATE TABLE lambda_layer (
    account      TEXT NOT NULL,
    region       TEXT NOT NULL,
    name         TEXT NOT NULL,
    last_version INTEGER NOT NULL,
    PRIMARY KEY (account, region, name)
);

CREATE TABLE lambda_layer_version (
    account            TEXT NOT NULL,
    region             TEXT NOT NULL,
    name               TEXT NOT NULL,
    version            INTEGER NOT NULL,
    code_sha256        TEXT NOT NULL,
    code_size_bytes    INTEGER NOT NULL,
    unzipped_bytes     INTEGER NOT NULL,
    details            TEXT NOT NULL,
    policy             TEXT,
    policy_revision_id TEXT,
    PRIMARY KEY (account, region, name, version)
);

CREATE INDEX lambda_layer_version_by_code ON lambda_layer_version (code_sha256);
