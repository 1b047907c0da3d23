WITH gone AS (
    DELETE FROM embedsql.worker WHERE seen_at NOT BETWEEN now() - interval '1 hour' AND now() + interval '1 minute'
)
INSERT INTO embedsql.worker AS w (worker, release, rates, saved, failed, embedded, reused)
VALUES (%(worker)s, %(release)s, %(rates)s::jsonb, %(saved)s, %(failed)s, %(embedded)s, %(reused)s)
ON CONFLICT (worker) DO UPDATE SET seen_at = now(), rates = EXCLUDED.rates, saved = EXCLUDED.saved,
    failed = EXCLUDED.failed, embedded = EXCLUDED.embedded, reused = EXCLUDED.reused
