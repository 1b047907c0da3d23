"""Texts to calibrate int8 weights with, and others to compare the result on.

Sentences of many trades, some questions, code and messages, some in other languages. The same for
everybody, so that the same weights give the same int8 weights.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from importlib import resources

CALIBRATION_TEXTS = 120
LENGTHS = (1, 1, 2, 3, 5, 8, 12)  # in sentences: a question to a long chunk
HELD_OUT = 4  # every fourth sentence is kept for the comparison


def calibration_texts() -> list[str]:
    """Texts whose activations set the ranges of int8."""
    sentences = [text for place, text in enumerate(_sentences()) if place % HELD_OUT]
    chance = random.Random(1)
    return [
        " ".join(chance.sample(sentences, LENGTHS[place % len(LENGTHS)]))
        for place in range(CALIBRATION_TEXTS)
    ]


def comparison_texts() -> list[str]:
    """Texts that calibration has not seen: the held-out sentences, alone and by fours."""
    sentences = _sentences()[::HELD_OUT]
    groups = [" ".join(sentences[start : start + 4]) for start in range(0, len(sentences), 4)]
    return [*sentences, *groups]


@cache
def _sentences() -> Sequence[str]:
    file = resources.files("embedsql.embedders") / "sample_texts.txt"
    return tuple(file.read_text(encoding="utf-8").splitlines())
