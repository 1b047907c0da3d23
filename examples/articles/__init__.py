"""An application that adopted embedsql: FastAPI, async SQLAlchemy, its own Alembic history.

Run it, against the database of EMBEDSQL_DATABASE_URL, DATABASE_URL, or the embedded one::

    cd examples/articles && alembic upgrade head
    embedsql worker                     # embeds what is there and whatever changes
    uvicorn examples.articles.app:app   # from the repository's root
"""
