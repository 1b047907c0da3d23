-- The vector in the source of a key that is buried, where it was made of a text that the row has no more, or came with
-- another row; never waits for an application's transaction: whoever holds the row may be about to change it.
WITH outdated AS (
    SELECT s.tableoid AS relation, s.ctid AS place FROM {batch} AS b, unnest({batch_arrays}) AS k ({key_columns}), {source} AS s
    WHERE b.batch_id = %(batch_id)s AND {source_of_key} AND s.{column} IS NOT NULL AND NOT EXISTS (
        SELECT FROM {row} AS r, {chunk} AS c
        WHERE {row_of_key} AND {chunk_of_key} AND {vector_is_own} AND r.input_hash IN ({input_hash}, '\x00'::bytea || {input_hash}))
    FOR NO KEY UPDATE OF s SKIP LOCKED
)
UPDATE {source} AS s SET {column} = NULL FROM outdated WHERE s.ctid = outdated.place AND s.tableoid = outdated.relation
