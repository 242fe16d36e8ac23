-- What is to be kept initialised; how far it has got is not kept, for environments do not outlive a worker.
CREATE TABLE lambda_provisioned_concurrency (
    account       TEXT NOT NULL,
    region        TEXT NOT NULL,
    name          TEXT NOT NULL,
    qualifier     TEXT NOT NULL,
    requested     INTEGER NOT NULL,
    last_modified TEXT NOT NULL,
    PRIMARY KEY (account, region, name, qualifier)
);
