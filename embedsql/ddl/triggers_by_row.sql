CREATE TRIGGER {insert_trigger} AFTER INSERT ON {source}
FOR EACH ROW EXECUTE FUNCTION {insert_function}();

CREATE TRIGGER {update_trigger} AFTER UPDATE ON {source}
FOR EACH ROW WHEN ({changed}) EXECUTE FUNCTION {update_function}();

CREATE TRIGGER {delete_trigger} AFTER DELETE ON {source}
FOR EACH ROW EXECUTE FUNCTION {delete_function}();

CREATE TRIGGER {truncate_trigger} AFTER TRUNCATE ON {source}
FOR EACH STATEMENT EXECUTE FUNCTION {truncate_function}();
