"""The operations on the kit's schema: what each is called, what it takes, and what reverses it."""

from __future__ import annotations

from typing import Any

from alembic.operations import MigrateOperation, Operations

from embedsql import schema


class InstallEmbedsqlOp(MigrateOperation):
    """Bring the kit's schema from one version to another."""

    def __init__(self, version: int, upgrade_from: int = 0) -> None:
        self.version = version
        self.upgrade_from = upgrade_from

    @classmethod
    def install_embedsql(
        cls, operations: Operations, version: int = schema.LATEST, *, upgrade_from: int = 0
    ) -> None:
        """Install the kit's schema at ``version``, or upgrade it from ``upgrade_from``.

        A database that has this version already, from ``embedsql install``, say, is left as it is.
        """
        operations.invoke(cls(version, upgrade_from))

    def reverse(self) -> UninstallEmbedsqlOp:
        """The downgrade."""
        return UninstallEmbedsqlOp(self.version, self.upgrade_from)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """What ``alembic check`` prints."""
        return ("install_embedsql", self.upgrade_from, self.version)


class UninstallEmbedsqlOp(MigrateOperation):
    """Take the kit's schema back from one version to another."""

    def __init__(self, version: int, downgrade_to: int = 0) -> None:
        self.version = version
        self.downgrade_to = downgrade_to

    @classmethod
    def uninstall_embedsql(
        cls, operations: Operations, version: int = schema.LATEST, *, downgrade_to: int = 0
    ) -> None:
        """Remove the kit's schema, or take it back to ``downgrade_to``."""
        operations.invoke(cls(version, downgrade_to))

    def reverse(self) -> InstallEmbedsqlOp:
        """The upgrade."""
        return InstallEmbedsqlOp(self.version, self.downgrade_to)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """What ``alembic check`` prints."""
        return ("uninstall_embedsql", self.version, self.downgrade_to)
