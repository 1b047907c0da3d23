DROP TRIGGER IF EXISTS {insert_trigger} ON {source};

DROP TRIGGER IF EXISTS {bulk_insert_trigger} ON {source};

DROP TRIGGER IF EXISTS {update_trigger} ON {source};

DROP TRIGGER IF EXISTS {delete_trigger} ON {source};

DROP TRIGGER IF EXISTS {truncate_trigger} ON {source};
