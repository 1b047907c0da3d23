"""Keep the chatter of model libraries from the terminal and from stdout."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

_TALKATIVE = ("transformers", "sentence_transformers", "optimum", "nncf", "openvino")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Only errors are said while the block runs; progress bars on stdout are thrown away."""
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
