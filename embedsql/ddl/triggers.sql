-- Row by row, since transition tables hold copies of whole rows. A transaction that has inserted many
-- is not made to log each of them: it notes that there are more, and a backfill finds them.
CREATE TRIGGER {insert_trigger} AFTER INSERT ON {source}
FOR EACH ROW WHEN ({few_inserted}) EXECUTE FUNCTION {insert_function}();

CREATE TRIGGER {bulk_insert_trigger} AFTER INSERT ON {source}
FOR EACH STATEMENT WHEN ({many_inserted}) EXECUTE FUNCTION {bulk_insert_function}();

CREATE TRIGGER {update_trigger} AFTER UPDATE ON {source}
FOR EACH ROW WHEN ({changed}) EXECUTE FUNCTION {update_function}();

CREATE TRIGGER {delete_trigger} AFTER DELETE ON {source}
REFERENCING OLD TABLE AS embedsql_changed FOR EACH STATEMENT EXECUTE FUNCTION {delete_function}();

CREATE TRIGGER {truncate_trigger} AFTER TRUNCATE ON {source}
FOR EACH STATEMENT EXECUTE FUNCTION {truncate_function}();
