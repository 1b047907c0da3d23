"""What this machine's processor can do for a model."""

from __future__ import annotations

from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")

# products of 8-bit integers, summed in one instruction: x86, then ARM
_INT8_FLAGS = {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"}


def multiplies_int8(cpu_info: Path = CPU_INFO) -> bool:
    """Whether int8 is faster than floating point here; true where it cannot be told."""
    try:
        lines = cpu_info.read_text().splitlines()
    except OSError:
        return True
    flags = [line.partition(":")[2] for line in lines if line.startswith(("flags", "Features"))]
    return not flags or not _INT8_FLAGS.isdisjoint(flags[0].split())
