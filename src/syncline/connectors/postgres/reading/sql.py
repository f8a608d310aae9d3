"""The queries that the source asks of the catalogue, each with its purpose. Values are bound; nothing is put in by
text.

They work on PostgreSQL 12 and later: what a version lacks is named in a comment at the place.
"""

from __future__ import annotations

__all__ = [
    "ACTIVITY_RIGHTS",
    "COLUMNS",
    "FORMATTED",
    "INDEXED_COLUMNS",
    "KEYS",
    "OLDEST_WRITER",
    "RELATION",
    "RELATIONS",
    "SCHEMAS",
    "SERVER",
    "SNAPSHOT",
    "STATISTICS",
    "SYSTEM",
    "SYSTEM_RIGHT",
    "TREE",
    "TYPES",
]

#: Who and where we are. Parameters: none.
SERVER = """
SELECT current_setting('server_version_num')::int,
       current_setting('server_version'),
       current_user,
       current_database(),
       pg_is_in_recovery(),
       current_setting('block_size')::int
"""

#: The schemas of users. Parameters: none.
SCHEMAS = """
SELECT n.nspname
FROM pg_catalog.pg_namespace AS n
WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
ORDER BY n.nspname
"""

#: Everything that can be a stream in the given schemas, with the size the server remembers (reltuples is -1, before
#: PG 14 0 with relpages 0, for a table that was never analysed). Parameters: array of schema names.
RELATIONS = """
SELECT c.oid,
       n.nspname,
       c.relname,
       c.relkind::text,
       c.relpersistence::text,
       c.relispartition,
       c.relreplident::text,
       c.reltuples::float8,
       c.relpages,
       EXISTS (SELECT FROM pg_catalog.pg_inherits AS h WHERE h.inhparent = c.oid),
       has_schema_privilege(n.oid, 'USAGE'),
       has_table_privilege(c.oid, 'SELECT'),
       row_security_active(c.oid)
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
  AND c.relpersistence <> 't'
  AND n.nspname = ANY (%s)
ORDER BY n.nspname, c.relname
"""

#: The same of one relation. Parameters: schema, name.
RELATION = RELATIONS.replace("n.nspname = ANY (%s)", "n.nspname = %s AND c.relname = %s")

#: The columns of relations, in order, with our right to read them. Parameters: array of relation oids.
COLUMNS = """
SELECT a.attrelid,
       a.attnum,
       a.attname,
       a.atttypid,
       a.atttypmod,
       a.attndims,
       a.attnotnull,
       a.attgenerated::text,
       has_column_privilege(a.attrelid, a.attnum, 'SELECT')
FROM pg_catalog.pg_attribute AS a
WHERE a.attrelid = ANY (%s)
  AND a.attnum > 0
  AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum
"""

#: The given types and every type that they are made of (base types of domains, items of arrays).
#: Parameters: array of type oids.
TYPES = """
WITH RECURSIVE used AS (
    SELECT unnest(%s::oid[]) AS oid
    UNION
    SELECT part.oid
    FROM used
    JOIN pg_catalog.pg_type AS t ON t.oid = used.oid
    CROSS JOIN LATERAL (VALUES (t.typbasetype), (t.typelem)) AS part (oid)
    WHERE part.oid <> 0
)
SELECT t.oid,
       n.nspname,
       t.typname,
       t.typtype::text,
       t.typsend = 'pg_catalog.array_send'::regproc AND t.typelem <> 0,
       t.typelem,
       t.typbasetype,
       t.typtypmod,
       t.typndims,
       t.typsend <> 0
FROM used
JOIN pg_catalog.pg_type AS t ON t.oid = used.oid
JOIN pg_catalog.pg_namespace AS n ON n.oid = t.typnamespace
"""

#: format_type for pairs of (type, modifier), qualified because the search path is empty then. A modifier of -1 gives
#: the type without any ("character" with NULL would mean character(1)). Parameters: array of oids, array of modifiers.
FORMATTED = """
SELECT t.oid, t.modifier, format_type(t.oid, t.modifier)
FROM unnest(%s::oid[], %s::int4[]) AS t (oid, modifier)
"""

#: Unique indexes that can serve as a key: complete, immediate, on plain columns. The best come first: the primary key,
#: the replica identity, then those on fewer columns. Columns are in the index's order. Parameters: array of oids.
KEYS = """
SELECT i.indrelid,
       i.indisprimary,
       array_agg(a.attname ORDER BY k.position)
FROM pg_catalog.pg_index AS i
CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, position)
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
WHERE i.indrelid = ANY (%s)
  AND i.indisunique
  AND i.indimmediate
  AND i.indisvalid
  AND i.indpred IS NULL
  AND i.indexprs IS NULL
  AND k.position <= i.indnkeyatts
GROUP BY i.indrelid, i.indexrelid, i.indisprimary, i.indisreplident, i.indnkeyatts
HAVING i.indisprimary OR bool_and(a.attnotnull)
ORDER BY i.indrelid, i.indisprimary DESC, i.indisreplident DESC, i.indnkeyatts, i.indexrelid
"""

#: Columns that lead a complete B-tree index, which finds the greatest value and ranges. Parameters: array of oids.
INDEXED_COLUMNS = """
SELECT DISTINCT i.indrelid, a.attname
FROM pg_catalog.pg_index AS i
JOIN pg_catalog.pg_class AS x ON x.oid = i.indexrelid
JOIN pg_catalog.pg_am AS m ON m.oid = x.relam
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = (i.indkey::int2[])[0]
WHERE i.indrelid = ANY (%s)
  AND i.indisvalid
  AND i.indpred IS NULL
  AND m.amname = 'btree'
"""

#: A relation with its partitions or inheriting tables: bytes on disk (with TOAST), pages of the longest member, rows as
#: remembered, whether a member is foreign, number of members. Parameters: relation oid.
TREE = """
WITH RECURSIVE tree AS (
    SELECT %s::oid AS oid
    UNION
    SELECT h.inhrelid
    FROM tree
    JOIN pg_catalog.pg_inherits AS h ON h.inhparent = tree.oid
)
SELECT COALESCE(sum(pg_table_size(c.oid)) FILTER (WHERE c.relkind IN ('r', 'm')), 0)::int8,
       COALESCE(max(pg_relation_size(c.oid)) FILTER (WHERE c.relkind IN ('r', 'm')), 0)::int8,
       COALESCE(
           sum(
               CASE WHEN c.relpages > 0 AND c.relkind IN ('r', 'm')
                    THEN c.reltuples::float8 / c.relpages
                         * (pg_relation_size(c.oid) / current_setting('block_size')::int8)
                    WHEN c.reltuples > 0 AND c.relkind <> 'p' THEN c.reltuples::float8
               END
           ),
           -1
       )::float8,
       COALESCE(bool_or(c.relkind = 'f'), false),
       count(*)
FROM tree
JOIN pg_catalog.pg_class AS c ON c.oid = tree.oid
"""

#: How well the rows' order on disk follows the column (1 or -1: entirely). Parameters: schema, relation, column.
STATISTICS = """
SELECT max(abs(s.correlation))
FROM pg_catalog.pg_stats AS s
WHERE s.schemaname = %s AND s.tablename = %s AND s.attname = %s
"""

#: The 64-bit ids of the present snapshot: every transaction below the first is finished, none from the second on has
#: begun. (The names that PG 12 knows.) Parameters: none.
SNAPSHOT = """
SELECT txid_snapshot_xmin(s.snapshot), txid_snapshot_xmax(s.snapshot)
FROM (SELECT txid_current_snapshot() AS snapshot) AS s
"""

#: Whether we may ask for the server's identity, and the identity: the same on all its standbys, another after a restore
#: from a dump. Parameters: none.
SYSTEM_RIGHT = "SELECT has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')"
SYSTEM = "SELECT system_identifier FROM pg_catalog.pg_control_system()"

#: Whether we see when other roles' transactions began. Parameters: none.
ACTIVITY_RIGHTS = """
SELECT pg_has_role(current_user, 'pg_read_all_stats', 'USAGE')
    OR (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user)
"""

#: When the oldest transaction began that may still commit rows with a cursor value of that time: every one that has
#: written, and every open one of the last 15 minutes, which may yet write; prepared ones count from their PREPARE. Our
#: own sessions only read. NULL: there is none. Parameters: none.
OLDEST_WRITER = """
SELECT LEAST(
    (
        SELECT min(a.xact_start)
        FROM pg_catalog.pg_stat_activity AS a
        WHERE a.datname = current_database()
          AND a.pid <> pg_backend_pid()
          AND (
              a.backend_xid IS NOT NULL
              OR (
                  a.backend_type = 'client backend'
                  AND a.xact_start > clock_timestamp() - interval '15 minutes'
                  AND a.application_name NOT LIKE 'syncline%%'
              )
          )
    ),
    (SELECT min(p.prepared) FROM pg_catalog.pg_prepared_xacts AS p WHERE p.database = current_database())
)
"""
