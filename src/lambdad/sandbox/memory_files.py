"""Decides how much memory beyond its own a function's files in /tmp may take. Pure."""

from __future__ import annotations

from lambdad.sandbox import spec

# Room is given in steps, so that filling 512 MiB asks a dozen times and not thousands of times.
STEP_BYTES = 32 << 20
# /dev/shm is a tmpfs as well; its size is fixed.
SHARED_MEMORY_BYTES = 64 << 20


def room_bytes(limits: spec.Limits | None, used_bytes: int, files_bytes: int) -> int:
    """
    Return how far above ``limits.memory_bytes`` the limit is to be, now that it was reached.

    Args:
        used_bytes: all memory in use, files included.
        files_bytes: what files in memory (tmpfs) use of it.

    Returns:
        0 if it is not files that have used the memory up, else the files' size and one step, at most what /tmp and
        /dev/shm may hold together.
    """
    if limits is None or files_bytes == 0 or used_bytes - files_bytes >= limits.memory_bytes - STEP_BYTES // 16:
        return 0
    return min(files_bytes + STEP_BYTES, limits.tmp_bytes + SHARED_MEMORY_BYTES)
