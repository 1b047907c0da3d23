-- Rows that changed of late and wait for a worker, as they are now: what the lexical lane serves them by.
CREATE OR REPLACE FUNCTION {pending}() RETURNS TABLE ({key_types}, chunk text, lexemes tsvector, terms sparsevec)
LANGUAGE plpgsql STABLE ROWS 10 AS {body};

COMMENT ON FUNCTION {pending}() IS {comment};

DO {pin};
