-- fastupdate = off: no pending list, which every stage of a search would read from end to end
CREATE INDEX {lexeme_index} ON {chunk} USING gin (lexemes) WITH (fastupdate = off);
