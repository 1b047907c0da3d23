"""Logging of the command line: structured, on stderr, without the text of any document."""

from __future__ import annotations

import logging
import sys

import structlog
from stamina.instrumentation import (
    LoggingOnRetryHook,
    PrometheusOnRetryHook,
    set_on_retry_hooks,
)


def configure_logging(level: int = logging.INFO, *, retries: bool = True) -> None:
    """Lines for a person on a terminal, JSON elsewhere.

    Args:
        level: Of our own loggers.
        retries: Whether each retry of a request is a line.
    """
    terminal = sys.stderr.isatty()
    renderer: structlog.types.Processor = (
        structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer()
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.ExtraAdder(),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            renderer,
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.getLogger().handlers[:] = [handler]
    set_on_retry_hooks((LoggingOnRetryHook, PrometheusOnRetryHook) if retries else ())
    logging.getLogger("embedsql").setLevel(level)
