CREATE TABLE {log} (
    seq bigint GENERATED ALWAYS AS IDENTITY (CACHE 1) PRIMARY KEY,
    {key_definitions},
    at timestamptz NOT NULL DEFAULT now()
) WITH (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 10000,
    autovacuum_vacuum_cost_delay = 0
);

COMMENT ON TABLE {log} IS 'change log: each row says that this key may have changed, and nothing more';

CREATE TABLE {batch} (
    batch_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    worker text,
    leased_until timestamptz NOT NULL,
    crashes int NOT NULL DEFAULT 0,
    {key_arrays},
    versions bigint[] NOT NULL,
    seqs bigint[] NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);

-- not compressed: a batch lives for seconds
ALTER TABLE {batch} {uncompressed_arrays},
    ALTER COLUMN versions SET STORAGE EXTERNAL, ALTER COLUMN seqs SET STORAGE EXTERNAL;

COMMENT ON TABLE {batch} IS 'keys claimed by one worker under one lease; worker is null for a piece of a batch that was split';

CREATE TABLE {row} (
    {key_definitions},
    version bigint NOT NULL,
    input_hash bytea NOT NULL,
    chunks int NOT NULL,
    truncated boolean NOT NULL,
    PRIMARY KEY ({key_columns})
);

COMMENT ON TABLE {row} IS 'for each source row dealt with: the hash of the text its chunks were made of (no chunks: blank)';

CREATE TABLE {chunk} (
    {key_definitions},
    chunk_seq int NOT NULL,
    start_offset int NOT NULL,
    content_hash bytea NOT NULL,
    chunk text NOT NULL,
    lexemes tsvector,
    terms sparsevec(536870912){vector_definitions}, -- BM25 weights of the lexemes
    PRIMARY KEY ({key_columns}, chunk_seq)
);

-- MAIN: in the row, not in TOAST, as long as that fits a page, since the weights of every lexical candidate are read
ALTER TABLE {chunk} ALTER COLUMN terms SET STORAGE MAIN;

CREATE INDEX {content_index} ON {chunk} (content_hash);

CREATE VIEW {chunk_view} WITH (security_invoker = true) AS
SELECT {chunk_key}, c.chunk_seq, c.start_offset, c.content_hash, c.chunk, c.lexemes, c.terms, {viewed_vector}
FROM {viewed_from};

INSERT INTO embedsql.semantic_index
    (name, generation, state, source_schema, source_table, declaration, space,
     log_table, batch_table, row_table, chunk_table, chunk_view, trigger_functions)
VALUES ({name}, {generation}, {state}, {source_schema}, {source_table}, {declaration}, {space},
        {log_name}, {batch_name}, {row_name}, {chunk_name}, {chunk_view_name}, ARRAY[{trigger_functions}]);
