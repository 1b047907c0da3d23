-- A subscription's apply worker fires only triggers that are told to fire always.
ALTER TABLE {source} ENABLE ALWAYS TRIGGER {insert_trigger};

ALTER TABLE {source} ENABLE ALWAYS TRIGGER {update_trigger};

ALTER TABLE {source} ENABLE ALWAYS TRIGGER {delete_trigger};

ALTER TABLE {source} ENABLE ALWAYS TRIGGER {truncate_trigger};
