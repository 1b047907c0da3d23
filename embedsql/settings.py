"""Settings from the environment, read at the edges only (command line, workers, demo)."""

from __future__ import annotations

from pathlib import Path

import platformdirs
from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from embedsql.database import conninfo
from embedsql.embedded import EmbeddedServer


class Settings(BaseSettings):
    """What the environment says.

    Attributes:
        database_url: ``EMBEDSQL_DATABASE_URL``, else ``DATABASE_URL``; unset: the embedded server.
        home: ``EMBEDSQL_HOME``, the embedded server's folder. Defaults to the user's data folder.
        openai_api_key: ``OPENAI_API_KEY``, for ``openai:`` models.
        rerank_api_key: ``EMBEDSQL_RERANK_API_KEY``, for a rerank endpoint.
    """

    model_config = SettingsConfigDict(env_prefix="EMBEDSQL_", extra="ignore", env_ignore_empty=True)

    database_url: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("EMBEDSQL_DATABASE_URL", "DATABASE_URL")
    )
    home: Path = Field(default_factory=lambda: Path(platformdirs.user_data_dir("embedsql")))
    openai_api_key: SecretStr | None = Field(default=None, validation_alias="OPENAI_API_KEY")
    rerank_api_key: SecretStr | None = None

    def embedded_server(self) -> EmbeddedServer:
        """The embedded server of this environment, running or not."""
        return EmbeddedServer(self.home)

    def conninfo(self, database_url: str | None = None) -> str:
        """Where the database is: the argument, else the environment, else the embedded server.

        The embedded server is started if need be.

        Raises:
            ConfigurationError: The URL cannot be read.
            EmbeddedPostgresError: No URL is set and the embedded server cannot run here.
        """
        if database_url:
            return conninfo(database_url)
        if self.database_url is not None:
            return conninfo(self.database_url.get_secret_value())
        return conninfo(self.embedded_server().start())
