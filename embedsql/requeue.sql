-- A zero byte before the stored hash: no look-up finds it, so the row is embedded again; and should the model refuse the
-- text, it still tells which text the present vectors were made of. The version becomes the new log row's, so that what
-- another worker has embedded and not written yet is older, and refused.
WITH logged AS (
    INSERT INTO {log} ({key_columns}) {chosen} RETURNING {key_columns}, seq
), marked AS (
    UPDATE {row} AS r SET version = k.seq,
        input_hash = CASE octet_length(r.input_hash) WHEN 32 THEN '\x00'::bytea || r.input_hash ELSE r.input_hash END
    FROM logged AS k WHERE {row_of_key}
)
SELECT count(*) FROM logged
