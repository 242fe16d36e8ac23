-- Buckets, the versions of their objects, uploads in parts, and the files that hold the bytes. Ids are never used twice.

CREATE TABLE s3_buckets (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,  -- one namespace for all accounts
    account TEXT NOT NULL,
    region TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    versioning TEXT NOT NULL    -- '', 'Enabled' or 'Suspended'
) STRICT;

CREATE INDEX s3_buckets_by_account ON s3_buckets (account, name);

-- Configurations of buckets, as JSON, in the service model's terms.
CREATE TABLE s3_documents (
    bucket_id INTEGER NOT NULL,
    kind TEXT NOT NULL,  -- 'cors', 'lifecycle', 'notification', 'ownership', 'policy', 'tags', 'website' ...
    document TEXT NOT NULL,
    PRIMARY KEY (bucket_id, kind)
) STRICT;

CREATE INDEX s3_documents_by_kind ON s3_documents (kind, bucket_id);

-- Versions of objects, delete markers too. A later version of a key has a greater id.
CREATE TABLE s3_objects (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    bucket_id INTEGER NOT NULL,
    key TEXT NOT NULL,
    version_id TEXT NOT NULL,    -- 'null' where the bucket kept no versions
    is_latest INTEGER NOT NULL,
    is_marker INTEGER NOT NULL,
    modified_at_ms INTEGER NOT NULL,
    noncurrent_at_ms INTEGER,    -- since when it has not been the latest
    size_bytes INTEGER NOT NULL,
    etag TEXT NOT NULL,          -- without quotation marks
    file TEXT,                   -- NULL: empty, or in s3_pieces
    pieces INTEGER NOT NULL,     -- how many rows of s3_pieces; 0: put as one
    checksum_algorithm TEXT NOT NULL,
    checksum_type TEXT NOT NULL,
    checksum TEXT NOT NULL,
    attributes TEXT NOT NULL,    -- a JSON object: content headers, metadata, storage class
    tags TEXT NOT NULL,          -- a JSON object
    UNIQUE (bucket_id, key, version_id)
) STRICT;

CREATE UNIQUE INDEX s3_objects_latest ON s3_objects (bucket_id, key) WHERE is_latest = 1;
CREATE INDEX s3_objects_versions ON s3_objects (bucket_id, key, id);
CREATE INDEX s3_objects_files ON s3_objects (file) WHERE file IS NOT NULL;

-- What an object that was uploaded in parts is made of.
CREATE TABLE s3_pieces (
    object_id INTEGER NOT NULL,
    number INTEGER NOT NULL,
    offset_bytes INTEGER NOT NULL,
    size_bytes INTEGER NOT NULL,
    file TEXT NOT NULL,
    checksum TEXT NOT NULL,
    PRIMARY KEY (object_id, number)
) STRICT;

CREATE INDEX s3_pieces_files ON s3_pieces (file);

CREATE TABLE s3_uploads (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    upload_id TEXT NOT NULL UNIQUE,
    bucket_id INTEGER NOT NULL,
    key TEXT NOT NULL,
    initiated_at_ms INTEGER NOT NULL,
    initiator TEXT NOT NULL,
    checksum_algorithm TEXT NOT NULL,
    checksum_type TEXT NOT NULL,
    is_checksum_asked INTEGER NOT NULL,  -- by whoever began the upload
    attributes TEXT NOT NULL,
    tags TEXT NOT NULL
) STRICT;

CREATE INDEX s3_uploads_by_key ON s3_uploads (bucket_id, key, id);

CREATE TABLE s3_parts (
    upload INTEGER NOT NULL,  -- s3_uploads.id
    number INTEGER NOT NULL,
    size_bytes INTEGER NOT NULL,
    etag TEXT NOT NULL,
    file TEXT NOT NULL,
    checksum TEXT NOT NULL,
    modified_at_ms INTEGER NOT NULL,
    PRIMARY KEY (upload, number)
) STRICT;

CREATE INDEX s3_parts_files ON s3_parts (file);

-- Files that no row refers to any more, and that are still to be removed.
CREATE TABLE s3_garbage (
    file TEXT PRIMARY KEY
) STRICT;
