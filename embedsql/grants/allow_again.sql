-- Whoever could work or search gets what the index made instead needs besides: another column of its source, say.
DO {body};

DROP TABLE IF EXISTS {kept};
