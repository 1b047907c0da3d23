INSERT INTO {log} ({key_columns}) SELECT {key_columns} FROM unnest({key_parameters}) AS k ({key_columns})
