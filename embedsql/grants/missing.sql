SELECT p.place FROM (VALUES {privileges}) AS p (place, purpose, word, kind, name, columns)
WHERE NOT {held} ORDER BY p.place;
