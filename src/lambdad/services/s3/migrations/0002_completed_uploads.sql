-- Which upload an object came from: completing one again, after an answer was lost, is answered like the first time.

ALTER TABLE s3_objects ADD COLUMN upload_id TEXT;

CREATE INDEX s3_objects_uploads ON s3_objects (upload_id) WHERE upload_id IS NOT NULL;
