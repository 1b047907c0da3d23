DROP VIEW IF EXISTS {index_view};

DROP VIEW IF EXISTS {serving_view};
