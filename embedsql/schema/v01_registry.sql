-- Version 1 of the kit's schema. Never edited after a release: a change is a new version.
-- Names are stored as text, not as reg* types, which would block pg_upgrade.

CREATE SCHEMA embedsql;
COMMENT ON SCHEMA embedsql IS 'embedsql: semantic search. Public: semantic_index, status, dead_letter; the rest may change.';

CREATE TABLE embedsql.installation (
    version int NOT NULL,
    installed_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT one_installation CHECK (version > 0)
);
CREATE UNIQUE INDEX installation_single ON embedsql.installation ((true));
INSERT INTO embedsql.installation (version) VALUES (1);

-- The registry: one row for each generation of a semantic index, of which one serves searches.
CREATE TABLE embedsql.semantic_index (
    index_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    source_schema text NOT NULL,
    source_table text NOT NULL,
    declaration jsonb NOT NULL,              -- IndexSpec, as JSON
    space text,                              -- of the stored vectors; null until the first is made
    generation int NOT NULL DEFAULT 1,       -- which build of the tables below this is
    state text NOT NULL DEFAULT 'serving',   -- of a model change; but for 'dropping', all are kept up to date
    log_table text NOT NULL,
    batch_table text NOT NULL,
    row_table text NOT NULL,
    chunk_table text NOT NULL,
    chunk_view text NOT NULL,
    trigger_functions text[] NOT NULL,
    backfill_since timestamptz DEFAULT now(), -- a backfill looks for rows that are in no log; null: none does
    backfill_after text[],                   -- the key up to which they have been found; null: from the first
    average_length double precision,         -- of a chunk, in words, as the lexical weights take it
    configurations text[],                   -- text-search configurations of rows that name their own
    similarity_mean double precision,        -- of two chunks taken at random
    similarity_deviation double precision,
    agreement double precision,              -- of meaning with words: low where the model knows little
    calibrated_chunks bigint,                -- how many there were when that was sampled
    tuning jsonb NOT NULL DEFAULT '{}',      -- query-time settings (SearchTuning) other than the defaults, kept by `tune --save`
    problem text,                            -- why workers leave this index alone; null: they do not
    comparison jsonb,                        -- of this generation with the one it is to follow
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT semantic_index_generation_unique UNIQUE (name, generation),
    CONSTRAINT semantic_index_state_known
        CHECK (state IN ('building', 'ready', 'switching', 'serving', 'retired', 'dropping'))
);
CREATE UNIQUE INDEX semantic_index_serving ON embedsql.semantic_index (name) WHERE state = 'serving';

-- Somebody inserted more rows than a transaction logs one by one: a backfill finds them.
-- Only ever appended to by an application's transactions, so that they never wait for one another.
CREATE TABLE embedsql.bulk_insert (
    name text NOT NULL,                      -- as its trigger knows the index: a REPEATABLE READ transaction that is older
    generation int NOT NULL,                 -- than the index does not see its row of the registry
    at timestamptz NOT NULL DEFAULT now()
);

-- Who works: a row for each worker, renewed every few seconds.
CREATE TABLE embedsql.worker (
    worker text PRIMARY KEY,
    release text NOT NULL,                   -- of the package
    started_at timestamptz NOT NULL DEFAULT now(),
    seen_at timestamptz NOT NULL DEFAULT now(),
    rates jsonb NOT NULL DEFAULT '{}',       -- rows a second of late, by index
    saved bigint NOT NULL DEFAULT 0,
    failed bigint NOT NULL DEFAULT 0,
    embedded bigint NOT NULL DEFAULT 0,
    reused bigint NOT NULL DEFAULT 0
);

-- Keys that failed: waiting for their next attempt, back in the change log, or dead.
CREATE TABLE embedsql.failure (
    index_id int NOT NULL REFERENCES embedsql.semantic_index ON DELETE CASCADE,
    key jsonb NOT NULL,                      -- a scalar for a key of one column, else an object
    version bigint NOT NULL,                 -- log sequence that failed; a later one is an edit, which starts afresh
    attempts int NOT NULL,
    next_attempt_at timestamptz,             -- null: not waiting (dead, or back in the change log)
    dead boolean NOT NULL,
    error_class text NOT NULL,
    error text NOT NULL,
    since timestamptz NOT NULL DEFAULT now(),
    input_hash bytea,                        -- of a text that the model refused, and whose words are stored
    PRIMARY KEY (index_id, key),
    CONSTRAINT failure_error_bounded CHECK (char_length(error) <= 1000),
    CONSTRAINT failure_dead_does_not_wait CHECK (NOT dead OR next_attempt_at IS NULL)
);

CREATE INDEX failure_due ON embedsql.failure (index_id, next_attempt_at) WHERE next_attempt_at IS NOT NULL;

CREATE VIEW embedsql.dead_letter AS
SELECT i.name AS index, f.key, f.error_class, f.error, f.attempts, f.since, i.generation
FROM embedsql.failure AS f
JOIN embedsql.semantic_index AS i USING (index_id)
WHERE f.dead;
