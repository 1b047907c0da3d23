DROP TRIGGER IF EXISTS {trigger} ON {source};

DROP FUNCTION IF EXISTS {function}();
