"""Settings of the embedded server: durable, local, and sized to the machine."""

from __future__ import annotations

import os
from pathlib import Path

MEGABYTE = 1 << 20


def server_settings(socket_folder: Path) -> str:
    """The text of its configuration file. No TCP; fsync stays on."""
    memory = _machine_memory() // MEGABYTE
    shared_buffers = _within(memory // 8, 128, 2048)
    settings = {
        "listen_addresses": "''",
        "unix_socket_directories": _quoted(str(socket_folder)),
        "unix_socket_permissions": "0700",
        "shared_buffers": f"{shared_buffers}MB",
        "effective_cache_size": f"{_within(memory // 2, 256, 65536)}MB",
        # an HNSW build that outgrows this becomes several times slower
        "maintenance_work_mem": f"{_within(memory // 16, 64, 2048)}MB",
        "max_wal_size": "4GB",
        "max_connections": "200",
        "random_page_cost": "1.1",
        "log_timezone": "UTC",
        "log_min_messages": "warning",
        "timezone": "UTC",
    }
    return "".join(f"{name} = {value}\n" for name, value in settings.items())


def _machine_memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return 4096 * MEGABYTE


def _within(value: int, least: int, most: int) -> int:
    return max(least, min(value, most))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
