"""Run every benchmark: ``python -m benchmarks``; one alone: ``python -m benchmarks.quality``."""

from __future__ import annotations

import subprocess
import sys

BENCHMARKS = (
    "quality",
    "lexical",
    "no_answer",
    "chunking",
    "huge_text",
    "ingest",
    "pipeline",
    "queue",
    "triggers",
    "transactions",
    "freshness",
    "reembed",
    "claims",
    "faults",
    "memory",
    "backends",
    "quantization",
    "deferred_index",
    "wal",
    "complete",
    "search_cost",
    "bm25",
    "sparse",
    "sql_function",
)


def main() -> int:
    """Run them one after the other, each in a process of its own."""
    failed = [
        name
        for name in BENCHMARKS
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode
    ]
    if failed:
        print("failed:", ", ".join(failed))
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
