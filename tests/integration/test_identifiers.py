"""Identifiers are found whole, split and joined, among rows that hold their parts."""

from __future__ import annotations

import random
from collections.abc import Iterator

import psycopg
import pytest

from embedsql.registered import RegisteredSearch
from tests.factories import add_index, create_article_table, drain

MIXED = (
    "See ORA-00942, foo.bar_baz(), X-100/B, PROJ-4711, v1.2.3, a/b/c.py, user@example.com, "
    ".NET and C++ notes"
)
ASKED_OF_MIXED = [
    *("00942", "ORA00942", "bar_baz", "X100", "4711", "1.2.3", "c.py", "example.com"),
    *("ORA-00942", "PROJ-4711", "foo.bar_baz", "X-100/B", "v1.2.3", ".NET", "C++"),
]
# what stands in a text, and what is asked for
IDENTIFIERS = {
    "ORA-01555": ["ORA-01555", "ora01555", "01555"],
    "ORA-12154": ["ORA-12154", "ORA12154", "how to fix error ORA-12154"],
    "CVE-2021-44228": ["CVE-2021-44228", "cve-2021-44228", "44228"],
    "CVE-2014-0160": ["CVE-2014-0160", "CVE20140160"],
    "ERR_CONNECTION_REFUSED": ["ERR_CONNECTION_REFUSED", "err_connection_refused"],
    "HTTP_STATUS_418": ["HTTP_STATUS_418", "418"],
    "SQLSTATE[23505]": ["23505", "SQLSTATE 23505"],
    "0x80070005": ["0x80070005"],
    "KB5005565": ["KB5005565", "kb5005565"],
    "JIRA-90210": ["JIRA-90210", "90210", "jira90210"],
    "RFC-7231": ["RFC-7231", "RFC7231", "7231"],
    "E0308": ["E0308", "error E0308"],
    "TS2345": ["TS2345", "ts2345"],
    "PGRST116": ["PGRST116"],
    "libpq-dev": ["libpq-dev", "libpqdev"],
    "python3-psycopg2": ["python3-psycopg2", "psycopg2"],
    "scikit-learn": ["scikit-learn", "scikitlearn"],
    "node-npm-package-arg": ["node-npm-package-arg"],
    "google-cloud-storage": ["google-cloud-storage"],
    "org.apache.commons": ["org.apache.commons", "apache commons"],
    "com.example.app.MainActivity": ["MainActivity", "main activity"],
    "numpy.linalg.eigvalsh": ["numpy.linalg.eigvalsh", "eigvalsh", "linalg.eigvalsh"],
    "os.path.splitext": ["os.path.splitext", "splitext", "path.splitext"],
    "std::unique_ptr": ["std::unique_ptr", "unique_ptr"],
    "getUserPreferences()": ["getUserPreferences", "get user preferences"],
    "parse_http_header": ["parse_http_header", "parse http header"],
    "XMLHttpRequest": ["XMLHttpRequest", "xmlhttprequest"],
    "src/app/router.tsx": ["router.tsx", "src/app/router.tsx", "app/router.tsx"],
    "/etc/nginx/nginx.conf": ["/etc/nginx/nginx.conf", "nginx.conf"],
    "/var/log/syslog.1": ["/var/log/syslog.1", "syslog.1"],
    r"C:\Windows\System32\drivers": ["System32", r"C:\Windows\System32\drivers"],
    "lib/models/user_account.rb": ["user_account.rb", "user_account"],
    "docker-compose.yml": ["docker-compose.yml", "docker compose yml"],
    "v2.14.0-rc1": ["v2.14.0-rc1", "2.14.0-rc1", "2.14.0"],
    "postgresql-16.4": ["postgresql-16.4", "postgresql 16.4", "16.4"],
    "django==4.2.11": ["django==4.2.11", "django 4.2.11", "4.2.11"],
    "openssl-3.0.13": ["openssl-3.0.13", "3.0.13"],
    "help@support.example.org": ["help@support.example.org", "support.example.org"],
    "https://docs.pgvector.dev/install": ["docs.pgvector.dev", "pgvector.dev/install"],
    "192.168.77.12": ["192.168.77.12"],
    "SKU-AB/1234-X": ["SKU-AB/1234-X", "1234-X", "1234x"],
    "WP-4G-LTE": ["WP-4G-LTE", "wp4glte"],
    "A4-80g": ["A4-80g", "A480g"],
    "x86_64-linux-gnu": ["x86_64-linux-gnu", "x86_64", "linux-gnu"],
    "utf8mb4_unicode_ci": ["utf8mb4_unicode_ci", "utf8mb4"],
    "F#": ["F#"],
    "e-mail": ["email"],
}
PARTS = (
    "error package version file path module linux user main app http status store cloud activity "
    "notes system storage docs install fix request header config windows drivers support python"
)
CASES = [(MIXED, asked) for asked in ASKED_OF_MIXED] + [
    (f"In the notes on {identifier} somebody explains what to do.", asked)
    for identifier, questions in IDENTIFIERS.items()
    for asked in questions
]


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """The texts with an identifier, among 500 of common words and numbers."""
    chance = random.Random(11)
    words = PARTS.split()
    filler = [
        f"{' '.join(chance.choices(words, k=12))} {chance.randint(1, 99)}" for _ in range(500)
    ]
    return [*dict.fromkeys(text for text, _ in CASES), *filler]


@pytest.fixture
def searcher(
    connection: psycopg.Connection, database: str, texts: list[str]
) -> Iterator[RegisteredSearch]:
    create_article_table(connection)
    with connection.cursor() as cursor, cursor.copy("COPY article (id, body) FROM STDIN") as copy:
        for row in enumerate(texts):
            copy.write_row(row)
    add_index(connection, text=("body",))
    drain(database, batch_size=1000)
    with RegisteredSearch(database, "article_search") as opened:
        yield opened


def test_every_identifier_is_among_the_first_three(
    searcher: RegisteredSearch, texts: list[str]
) -> None:
    assert len(CASES) > 100
    missed = [
        (asked, text)
        for text, asked in CASES
        if texts.index(text)
        not in [key for key, _ in searcher.search(asked, mode="lexical", limit=3).hits]
    ]
    assert missed == []


def test_forms_of_identifiers_have_no_place_among_the_words(
    connection: psycopg.Connection,
) -> None:
    found = connection.execute(
        "SELECT embedsql.lexemes('english', %(text)s) @@ phraseto_tsquery('english', 'notes on'), "
        "embedsql.lexemes('english', %(text)s) @@ phraseto_tsquery('english', 'code broke today'), "
        "embedsql.text_length(embedsql.lexemes('english', %(text)s)) = "
        "embedsql.text_length(to_tsvector('english', %(text)s))",
        {"text": "see src/app/my_code.py: the code broke today, ORA-00942"},
    ).fetchone()
    assert found == (False, True, True)


def test_no_identifier_is_passed_over_for_prose(connection: psycopg.Connection) -> None:
    chance = random.Random(7)
    texts = ["".join(chance.choices("aB1é漢 -._/:@\\#~=+()", k=6)) for _ in range(20_000)]

    found = connection.execute(
        "SELECT words FROM unnest(%s::text[]) AS words WHERE embedsql.lexemes('simple', words) "
        "<> to_tsvector('simple', words) || embedsql.identifier_lexemes('simple', words)",
        [texts],
    )

    assert found.fetchall() == []
