"""Which cases of a matrix ``make test`` runs; ``make test-more`` runs the others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def cases(every: Iterable[Any], *everyday: Any) -> list[Any]:
    """Parameters for ``parametrize``: all but those of every day are marked ``exhaustive``."""
    found = list(every)
    missing = [one for one in everyday if one not in found]
    assert not missing, f"no such case: {missing}"
    return [
        one if one in everyday else pytest.param(one, marks=pytest.mark.exhaustive) for one in found
    ]
