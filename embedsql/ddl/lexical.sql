-- without a pending list, which every stage of a search would read to its end
CREATE INDEX {lexeme_index} ON {chunk} USING gin (lexemes) WITH (fastupdate = off);
