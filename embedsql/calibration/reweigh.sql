UPDATE {chunk} SET terms = {terms}
FROM (SELECT %(length)s::float8 AS length) AS average
WHERE ctid >= %(from)s::tid AND ctid < %(to)s::tid
