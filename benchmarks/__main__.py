"""Run every benchmark: ``python -m benchmarks``; some: ``python -m benchmarks quality wal``."""

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
    "live_index",
    "wal",
    "complete",
    "search_cost",
    "bm25",
    "sparse",
    "sql_function",
)


def main() -> int:
    """Run them one after the other, each in a process of its own."""
    asked = sys.argv[1:] or BENCHMARKS
    if unknown := [name for name in asked if name not in BENCHMARKS]:
        print(f"no benchmark {', '.join(unknown)}; there are: {', '.join(BENCHMARKS)}")
        return 2
    failed = [
        name
        for name in asked
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode
    ]
    if failed:
        print("failed:", ", ".join(failed))
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
