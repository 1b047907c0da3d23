-- The hash is one that no look-up finds; where the text does not become vectors, it still tells what those that there are
-- were made of. And the version is that of the log row: what was embedded before, and is not written yet, comes too late.
WITH logged AS (
    INSERT INTO {log} ({key_columns}) {chosen} RETURNING {key_columns}, seq
), marked AS (
    UPDATE {row} AS r SET version = k.seq,
        input_hash = CASE octet_length(r.input_hash) WHEN 32 THEN '\x00'::bytea || r.input_hash ELSE r.input_hash END
    FROM logged AS k WHERE {row_of_key}
)
SELECT count(*) FROM logged
