CREATE TABLE {copy} AS SELECT {columns} FROM {source} WITH NO DATA;

ALTER TABLE {copy} ADD PRIMARY KEY ({key});
