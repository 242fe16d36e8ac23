-- Functions with their versions and aliases. Values are JSON documents; what is looked up has a column of its own.

CREATE TABLE lambda_function (
    account              TEXT NOT NULL,
    region               TEXT NOT NULL,
    name                 TEXT NOT NULL,
    serving              TEXT,
    policies             TEXT NOT NULL,
    tags                 TEXT NOT NULL,
    reserved_concurrency INTEGER,
    PRIMARY KEY (account, region, name)
);

CREATE TABLE lambda_function_version (
    account       TEXT NOT NULL,
    region        TEXT NOT NULL,
    name          TEXT NOT NULL,
    version       TEXT NOT NULL,
    code_sha256   TEXT NOT NULL,
    configuration TEXT NOT NULL,
    PRIMARY KEY (account, region, name, version)
);

CREATE INDEX lambda_function_version_by_code ON lambda_function_version (code_sha256);

CREATE TABLE lambda_function_alias (
    account       TEXT NOT NULL,
    region        TEXT NOT NULL,
    name          TEXT NOT NULL,
    alias         TEXT NOT NULL,
    configuration TEXT NOT NULL,
    PRIMARY KEY (account, region, name, alias)
);

-- Outlives the function: a number is never given twice, not even after deletion and re-creation.
CREATE TABLE lambda_function_numbering (
    account      TEXT NOT NULL,
    region       TEXT NOT NULL,
    name         TEXT NOT NULL,
    next_version INTEGER NOT NULL,
    PRIMARY KEY (account, region, name)
);
