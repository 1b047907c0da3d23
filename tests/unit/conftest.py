"""Servers that embed, for the tests of the client that talks to them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.embedding_server import Provider, serving


@pytest.fixture
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither key nor proxy."""
    for name in ("OPENAI_API_KEY", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def provider(bare_environment: None) -> Iterator[Provider]:
    """A server that answers as it should until a test says otherwise."""
    with serving() as started:
        yield started
