-- name: insert_bucket
-- Make a bucket unless its name is taken.
INSERT INTO s3_buckets (name, account, region, created_at_ms, versioning) VALUES (:name, :account, :region, :created_at_ms, '')
ON CONFLICT (name) DO NOTHING RETURNING id;

-- name: get_bucket
-- Find a bucket by its name.
SELECT id, name, account, region, created_at_ms, versioning FROM s3_buckets WHERE name = :name;

-- name: buckets_by_name
-- A page of an account's buckets in order of names.
SELECT id, name, region, created_at_ms FROM s3_buckets
WHERE account = :account AND name > :after AND name >= :prefix AND (:prefix_end = '' OR name < :prefix_end) AND (:region = '' OR region = :region)
ORDER BY name LIMIT :limit;

-- name: all_buckets
-- All buckets, of every account.
SELECT id, name, account, region, created_at_ms, versioning FROM s3_buckets ORDER BY id;

-- name: set_versioning
-- Keep versions of a bucket's objects, or no longer.
UPDATE s3_buckets SET versioning = :versioning WHERE id = :id;

-- name: delete_bucket
-- Remove a bucket.
DELETE FROM s3_buckets WHERE id = :id;

-- name: any_object
-- Say whether a bucket has any version of any object.
SELECT id FROM s3_objects WHERE bucket_id = :bucket_id LIMIT 1;

-- name: uploads_of_bucket
-- A bucket's unfinished uploads.
SELECT id FROM s3_uploads WHERE bucket_id = :bucket_id;

-- name: put_document
-- Keep a configuration of a bucket, replacing the one that is there.
INSERT INTO s3_documents (bucket_id, kind, document) VALUES (:bucket_id, :kind, :document)
ON CONFLICT (bucket_id, kind) DO UPDATE SET document = excluded.document;

-- name: get_document
-- Find a configuration of a bucket.
SELECT document FROM s3_documents WHERE bucket_id = :bucket_id AND kind = :kind;

-- name: get_documents
-- Find all configurations of a bucket.
SELECT kind, document FROM s3_documents WHERE bucket_id = :bucket_id;

-- name: documents_of_kind
-- Find the configurations of one kind, of all buckets.
SELECT bucket_id, document FROM s3_documents WHERE kind = :kind ORDER BY bucket_id;

-- name: delete_document
-- Remove a configuration of a bucket.
DELETE FROM s3_documents WHERE bucket_id = :bucket_id AND kind = :kind;

-- name: delete_documents
-- Remove all configurations of a bucket.
DELETE FROM s3_documents WHERE bucket_id = :bucket_id;

-- name: get_latest
-- Find the latest version of a key, a delete marker included.
SELECT id, key, version_id, is_latest, is_marker, modified_at_ms, size_bytes, etag, file, pieces, checksum_algorithm, checksum_type, checksum,
  attributes, tags
FROM s3_objects WHERE bucket_id = :bucket_id AND key = :key AND is_latest = 1;

-- name: get_version
-- Find one version of a key.
SELECT id, key, version_id, is_latest, is_marker, modified_at_ms, size_bytes, etag, file, pieces, checksum_algorithm, checksum_type, checksum,
  attributes, tags
FROM s3_objects WHERE bucket_id = :bucket_id AND key = :key AND version_id = :version_id;

-- name: insert_object
-- Add a version of a key, which is then the latest.
INSERT INTO s3_objects (bucket_id, key, version_id, is_latest, is_marker, modified_at_ms, noncurrent_at_ms, size_bytes, etag, file, pieces,
  checksum_algorithm, checksum_type, checksum, attributes, tags, upload_id)
VALUES (:bucket_id, :key, :version_id, 1, :is_marker, :modified_at_ms, NULL, :size_bytes, :etag, :file, :pieces,
  :checksum_algorithm, :checksum_type, :checksum, :attributes, :tags, :upload_id)
RETURNING id;

-- name: object_of_upload
-- Find what an upload has become.
SELECT version_id, etag, checksum_algorithm, checksum_type, checksum FROM s3_objects
WHERE upload_id = :upload_id AND bucket_id = :bucket_id AND key = :key;

-- name: end_latest
-- The latest version of a key is so no longer.
UPDATE s3_objects SET is_latest = 0, noncurrent_at_ms = :now_ms WHERE id = :id;

-- name: delete_object
-- Remove a version.
DELETE FROM s3_objects WHERE id = :id;

-- name: newest_left
-- Find the newest version of a key that is there.
SELECT id FROM s3_objects WHERE bucket_id = :bucket_id AND key = :key ORDER BY id DESC LIMIT 1;

-- name: make_latest
-- A version is the latest again.
UPDATE s3_objects SET is_latest = 1, noncurrent_at_ms = NULL WHERE id = :id;

-- name: set_tags
-- Replace a version's tags.
UPDATE s3_objects SET tags = :tags WHERE id = :id;

-- name: set_attributes
-- Replace a version's attributes.
UPDATE s3_objects SET attributes = :attributes WHERE id = :id;

-- name: insert_piece
-- Add a piece of an object.
INSERT INTO s3_pieces (object_id, number, offset_bytes, size_bytes, file, checksum)
VALUES (:object_id, :number, :offset_bytes, :size_bytes, :file, :checksum);

-- name: pieces_of
-- The pieces of an object in order.
SELECT number, offset_bytes, size_bytes, file, checksum FROM s3_pieces WHERE object_id = :object_id ORDER BY number;

-- name: pieces_after
-- A page of the pieces of an object.
SELECT number, size_bytes, checksum FROM s3_pieces WHERE object_id = :object_id AND number > :after ORDER BY number LIMIT :limit;

-- name: delete_pieces
-- Forget the pieces of an object.
DELETE FROM s3_pieces WHERE object_id = :object_id;

-- name: discard_pieces
-- Have the files of an object's pieces removed.
INSERT INTO s3_garbage (file) SELECT file FROM s3_pieces WHERE object_id = :object_id ON CONFLICT (file) DO NOTHING;

-- name: discard_file
-- Have a file removed.
INSERT INTO s3_garbage (file) VALUES (:file) ON CONFLICT (file) DO NOTHING;

-- name: garbage
-- Files to be removed.
SELECT file FROM s3_garbage WHERE file > :after ORDER BY file LIMIT :limit;

-- name: forget_garbage
-- A file has been removed.
DELETE FROM s3_garbage WHERE file = :file;

-- name: files_of_shard
-- Files of one directory that rows refer to.
SELECT file FROM s3_objects WHERE file >= :first AND file < :end
UNION ALL SELECT file FROM s3_pieces WHERE file >= :first AND file < :end
UNION ALL SELECT file FROM s3_parts WHERE file >= :first AND file < :end;

-- name: objects_from
-- A page of a bucket's objects in order of keys.
SELECT id, key, modified_at_ms, size_bytes, etag, checksum_algorithm, checksum_type, attributes FROM s3_objects
WHERE bucket_id = :bucket_id AND is_latest = 1 AND is_marker = 0 AND key >= :start AND (:end = '' OR key < :end) AND key <> :tie_key
ORDER BY key LIMIT :limit;

-- name: versions_from
-- A page of the versions in a bucket, in order of keys, the newest version of each first.
SELECT id, key, version_id, is_latest, is_marker, modified_at_ms, size_bytes, etag, checksum_algorithm, checksum_type, attributes
FROM s3_objects
WHERE bucket_id = :bucket_id AND key >= :start AND (:end = '' OR key < :end) AND (key <> :tie_key OR id < :tie)
ORDER BY key, id DESC LIMIT :limit;

-- name: insert_upload
-- Begin an upload.
INSERT INTO s3_uploads (upload_id, bucket_id, key, initiated_at_ms, initiator, checksum_algorithm, checksum_type, is_checksum_asked,
  attributes, tags)
VALUES (:upload_id, :bucket_id, :key, :initiated_at_ms, :initiator, :checksum_algorithm, :checksum_type, :is_checksum_asked,
  :attributes, :tags);

-- name: get_upload
-- Find an unfinished upload.
SELECT id, upload_id, bucket_id, key, initiated_at_ms, initiator, checksum_algorithm, checksum_type, is_checksum_asked, attributes, tags
FROM s3_uploads WHERE upload_id = :upload_id AND bucket_id = :bucket_id AND key = :key;

-- name: uploads_from
-- A page of a bucket's uploads in order of keys, the oldest of each first.
SELECT id, upload_id, key, initiated_at_ms, initiator, checksum_algorithm, checksum_type, attributes FROM s3_uploads
WHERE bucket_id = :bucket_id AND key >= :start AND (:end = '' OR key < :end) AND (key <> :tie_key OR id > :tie)
ORDER BY key, id LIMIT :limit;

-- name: upload_number
-- Find where an upload stands in the order of uploads.
SELECT id FROM s3_uploads WHERE upload_id = :upload_id AND bucket_id = :bucket_id;

-- name: delete_upload
-- Forget an upload.
DELETE FROM s3_uploads WHERE id = :id;

-- name: put_part
-- Keep a part, replacing the one of its number.
INSERT INTO s3_parts (upload, number, size_bytes, etag, file, checksum, modified_at_ms)
VALUES (:upload, :number, :size_bytes, :etag, :file, :checksum, :modified_at_ms)
ON CONFLICT (upload, number) DO UPDATE SET size_bytes = excluded.size_bytes, etag = excluded.etag, file = excluded.file,
  checksum = excluded.checksum, modified_at_ms = excluded.modified_at_ms;

-- name: get_part
-- Find a part.
SELECT number, size_bytes, etag, file, checksum FROM s3_parts WHERE upload = :upload AND number = :number;

-- name: parts_of
-- All parts of an upload.
SELECT number, size_bytes, etag, file, checksum FROM s3_parts WHERE upload = :upload ORDER BY number;

-- name: parts_after
-- A page of the parts of an upload.
SELECT number, size_bytes, etag, checksum, modified_at_ms FROM s3_parts WHERE upload = :upload AND number > :after ORDER BY number LIMIT :limit;

-- name: discard_parts
-- Have the files of an upload's parts removed.
INSERT INTO s3_garbage (file) SELECT file FROM s3_parts WHERE upload = :upload ON CONFLICT (file) DO NOTHING;

-- name: delete_parts
-- Forget the parts of an upload.
DELETE FROM s3_parts WHERE upload = :upload;

-- name: current_after
-- Objects of a bucket by id, for lifecycle rules.
SELECT id, key, version_id, is_marker, modified_at_ms, size_bytes, attributes, tags FROM s3_objects
WHERE bucket_id = :bucket_id AND is_latest = 1 AND key >= :start AND (:end = '' OR key < :end) AND modified_at_ms <= :before_ms
ORDER BY key LIMIT :limit;

-- name: noncurrent_of
-- Versions of a bucket that are not the latest, newest first in each key, for lifecycle rules.
SELECT id, key, version_id, is_marker, modified_at_ms, noncurrent_at_ms, size_bytes, attributes, tags FROM s3_objects
WHERE bucket_id = :bucket_id AND is_latest = 0 AND key >= :start AND (:end = '' OR key < :end) AND (key <> :tie_key OR id < :tie)
ORDER BY key, id DESC LIMIT :limit;

-- name: versions_of_key
-- Say how many versions of a key there are, up to two.
SELECT id FROM s3_objects WHERE bucket_id = :bucket_id AND key = :key ORDER BY id DESC LIMIT 2;

-- name: uploads_before
-- Uploads of a bucket that were begun before a moment.
SELECT id, key, initiated_at_ms FROM s3_uploads WHERE bucket_id = :bucket_id AND initiated_at_ms <= :before_ms ORDER BY id;
