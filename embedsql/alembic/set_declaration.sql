UPDATE embedsql.semantic_index SET declaration = declaration || {changed} WHERE name = {name};
