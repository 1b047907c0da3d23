"""What a question's text says beside its meaning: phrases, required and excluded words.

``"two words"`` and ``+word`` must match in one passage of a row, ``-word`` and ``-"two words"`` in
none. The server reads the text (``embedsql.read_question``); here stands only what must be known
before.
"""

from __future__ import annotations

import re

# how each of these begins; must agree with embedsql.read_question
_OPERATOR = re.compile(r'(?:^|\s)(?:[-+]?"|[-+][^-+\s])')
_ASKED = re.compile(r'(?P<before>^|\s)(?P<sign>[-+]?)(?:"(?P<phrase>[^"]*)"|(?P<word>\S+))')
_NUMBER = re.compile(r"[\W\d_]*")
_SURROGATE = re.compile("[\ud800-\udfff]")


def clean_text(text: str) -> str:
    """``text`` as PostgreSQL can read it: NUL is a space, a lone surrogate U+FFFD."""
    return _SURROGATE.sub("\ufffd", text.replace("\0", " "))


def has_operators(text: str) -> bool:
    """Whether a text may ask for more than any of its words; a statement is made accordingly."""
    return _OPERATOR.search(text) is not None


def meant_text(text: str) -> str:
    """The text that is embedded: without quotes and signs, and without what is excluded."""
    if not has_operators(text):
        return text
    kept = _ASKED.sub(_meant, text).strip()
    return kept or text


def asked_words(text: str) -> list[str]:
    """What a text requires and excludes, each as it stands there: ``+word``, ``-"two words"``."""
    if not has_operators(text):
        return []
    return [asked[0].strip() for asked in _ASKED.finditer(text) if _asks(asked)]


def _meant(asked: re.Match[str]) -> str:
    if not _asks(asked):
        return asked[0]
    sign, phrase, word = asked["sign"], asked["phrase"], asked["word"]
    return "" if sign == "-" else asked["before"] + (word if phrase is None else phrase)


def _asks(asked: re.Match[str]) -> bool:
    """Whether it requires or excludes something; a number with a sign is a number."""
    if asked["phrase"] is not None:
        return True
    word = asked["word"]
    return bool(asked["sign"]) and word[0] not in "-+" and not _NUMBER.fullmatch(word)
