DROP INDEX IF EXISTS {vector_index};
