-- A zero byte before the stored hash: no look-up finds it, so the row is embedded again; and should the model refuse the
-- text, it still tells which text the present vectors were made of. The version becomes the new log row's, so that what
-- another worker has embedded and not written yet is older, and refused.
WITH logged AS (
    INSERT INTO {log} ({key_columns}) {chosen} RETURNING {key_columns}, seq
), marked AS (
    UPDATE {row} AS r SET version = k.seq,
        input_hash = CASE octet_length(r.input_hash) WHEN 32 THEN '\x00'::bytea || r.input_hash ELSE r.input_hash END
    FROM logged AS k WHERE {row_of_key}
), in_hand AS (
    -- For the first time: there is nothing to mark yet, unless it is being written.
    INSERT INTO {row} AS r ({key_columns}, version, input_hash, chunks, truncated)
    SELECT {key_columns}, seq, decode(repeat('00', 33), 'hex'), 0, false FROM logged AS k
    WHERE ({key_columns}) IN (SELECT h.* FROM {batch} AS b, unnest({batch_arrays}) AS h)
      AND NOT EXISTS (SELECT FROM {row} AS r WHERE {row_of_key})
    ON CONFLICT ({key_columns}) DO UPDATE SET version = EXCLUDED.version, input_hash = EXCLUDED.input_hash
)
SELECT count(*) FROM logged
