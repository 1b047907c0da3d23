SELECT embedsql.require_ready({name}, {generation});
