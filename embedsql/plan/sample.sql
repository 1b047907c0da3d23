SELECT {key_texts}, {text}, {context}, {too_long}
FROM {source} AS s TABLESAMPLE {method} (%(percent)s) REPEATABLE (1) LIMIT %(most)s
