-- name: describe_columns
-- Every column of every table, but for the store's own.
SELECT m.name AS table_name, c.name AS column_name, UPPER(c.type) AS type, c."notnull" AS required,
       c.dflt_value AS default_value, CAST(c.pk AS TEXT) AS further
FROM sqlite_master AS m, pragma_table_xinfo(m.name) AS c
WHERE m.type = 'table' AND m.name <> 'lambdad_migration' AND substr(m.name, 1, 7) <> 'sqlite_'
ORDER BY m.name, c.name;

-- postgres: describe_columns
-- From the catalogue that the standard defines.
SELECT table_name::text, column_name::text, data_type::text AS type, CASE WHEN is_nullable = 'NO' THEN 1 ELSE 0 END AS required,
       column_default::text AS default_value, concat_ws(' ', collation_name, is_identity) AS further
FROM information_schema.columns
WHERE table_schema = current_schema() AND table_name <> 'lambdad_migration'
ORDER BY table_name, column_name;

-- name: describe_indexes
-- Every index and trigger, by its definition; one that belongs to a constraint by its columns.
SELECT m.tbl_name AS table_name, m.type AS type,
       COALESCE(m.sql, (SELECT group_concat(i.name) FROM pragma_index_info(m.name) AS i)) AS definition
FROM sqlite_master AS m
WHERE m.type <> 'table' AND m.tbl_name <> 'lambdad_migration'
UNION ALL
SELECT t.name, 'foreign key', f."from" || ' to ' || f."table" || '.' || COALESCE(f."to", '') || ' ' || f.on_delete
FROM sqlite_master AS t, pragma_foreign_key_list(t.name) AS f
WHERE t.type = 'table'
ORDER BY 1, 2, 3;

-- postgres: describe_indexes
-- Every index by its definition, and every constraint and trigger by theirs.
SELECT tablename::text AS table_name, 'index' AS type, indexdef::text AS definition
FROM pg_indexes
WHERE schemaname = current_schema() AND tablename <> 'lambdad_migration'
UNION ALL
SELECT r.relname::text, 'constraint', pg_get_constraintdef(c.oid)
FROM pg_constraint AS c JOIN pg_class AS r ON r.oid = c.conrelid
WHERE r.relnamespace = current_schema()::regnamespace AND r.relname <> 'lambdad_migration'
UNION ALL
SELECT r.relname::text, 'trigger', pg_get_triggerdef(t.oid)
FROM pg_trigger AS t JOIN pg_class AS r ON r.oid = t.tgrelid
WHERE NOT t.tgisinternal AND r.relnamespace = current_schema()::regnamespace
ORDER BY 1, 2, 3;
