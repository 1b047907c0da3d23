CREATE INDEX {lexeme_index} ON {chunk} USING gin (lexemes);
