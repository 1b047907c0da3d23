"""What a worker can be told."""

from __future__ import annotations

from dataclasses import dataclass

from embedsql.changelog import LEASE_SECONDS, LONGEST_LEASE_SECONDS
from embedsql.errors import ConfigurationError


@dataclass(frozen=True, kw_only=True)
class WorkerOptions:
    """How a worker works.

    Attributes:
        batch_size: Keys claimed at once; their texts are embedded in order of length, which is
            the faster the more there are. Defaults to 256.
        drain: Stop when nothing is left to do. Defaults to false.
        lease: Seconds that a claim outlives its worker's last sign of life. Defaults to 30,
            600 at most.
        poll_interval: Seconds between looks at the log when no notification comes. Defaults to 2.
        threads: Threads of a local model. Defaults to its own choice.
        api_key: For ``openai:`` models.
        queries: Embed the queries of search functions and of processes without a model, too; a
            draining worker does not. Costs a second copy of a local model. Defaults to true.
    """

    batch_size: int = 256
    drain: bool = False
    lease: float = LEASE_SECONDS
    poll_interval: float = 2.0
    threads: int | None = None
    api_key: str | None = None
    queries: bool = True

    def __post_init__(self) -> None:
        """Refuse a lease that other workers would take for a past clock's.

        Raises:
            ConfigurationError: It is too long.
        """
        if self.lease > LONGEST_LEASE_SECONDS:
            raise ConfigurationError(
                f"a lease of {self.lease:g} s is too long: take {LONGEST_LEASE_SECONDS:g} or less; "
                "it is renewed as long as its worker lives"
            )
