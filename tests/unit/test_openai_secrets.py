from __future__ import annotations

import logging

import pytest
import stamina

from embedsql import ConfigurationError, EmbedsqlError
from tests.unit.embedding_server import Provider


@pytest.mark.parametrize("key", ["sk-secret\n", "sk-se\ncret", "sk secret", "sk-sécret"])
def test_a_key_that_no_header_takes_is_not_told(provider: Provider, key: str) -> None:
    said = ""
    try:
        provider.load(api_key=key)
    except ConfigurationError as error:
        said = f"{error!r} {error.__cause__!r}"

    assert "cret" not in said
    assert ("API key" in said) == (key.strip() != "sk-secret")


def test_secrets_are_in_no_message_and_no_log(
    provider: Provider, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    provider.url = provider.url.replace("http://", "http://user:hunter2@")
    embedder = provider.embedder(api_key="sk-secret")
    said = [repr(vars(embedder))]
    echo = {"error": "no access for sk-secret, hunter2"}  # as servers repeat what they refuse
    for status in (200, 400, 401, 500):
        provider.always(echo, status)
        with pytest.raises(EmbedsqlError) as caught, stamina.set_testing(True, attempts=2):
            embedder.embed_documents(["text"])
        said.append(f"{caught.value} {caught.value!r} {caught.value.__cause__!r}")
    output = capfd.readouterr()
    everything = " ".join([*said, caplog.text, output.out, output.err])

    assert "no access for ***" in everything
    assert "sk-secret" not in everything
    assert "hunter2" not in everything
