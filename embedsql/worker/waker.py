"""Wakes a thread that waits for its database connection, from any other thread or a signal."""

from __future__ import annotations

import contextlib
import select
import socket

import psycopg


class Waker:
    """Something to wait on beside a connection; a context manager."""

    def __enter__(self) -> Waker:
        self._ours, self._theirs = socket.socketpair()
        self._ours.setblocking(False)
        self._theirs.setblocking(False)
        return self

    def __exit__(self, *exc: object) -> None:
        self._ours.close()
        self._theirs.close()

    def wake(self) -> None:
        """End the wait, or the next one; safe in a signal handler."""
        # OSError: full, so it wakes anyway, or closed; AttributeError: not opened yet
        with contextlib.suppress(OSError, AttributeError):
            self._theirs.send(b"\0")

    def wait(self, connection: psycopg.Connection, seconds: float) -> None:
        """Until a notification comes, somebody wakes us, or the time is up.

        Raises:
            psycopg.OperationalError: The connection is lost.
        """
        if not any(connection.notifies(timeout=0)):
            select.select([self._ours.fileno(), connection.fileno()], [], [], seconds)
        for _ in connection.notifies(timeout=0):
            pass
        with contextlib.suppress(BlockingIOError):
            while self._ours.recv(4096):
                pass
