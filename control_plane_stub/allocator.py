"""Tells the C library's allocator about large blocks. No other setting of the process is here."""

import ctypes
import sys

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_LARGEST_REUSED = 32 * 1024 * 1024
_KEPT = 64 * 1024 * 1024


def keep_large_buffers() -> None:
    """Let freed blocks be used again instead of giving each back to the kernel.

    By default glibc maps, faults and unmaps every buffer over 128 KiB, which costs more than
    carrying its bytes. Does nothing where the C library is another one.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_REUSED)
        mallopt(_M_TRIM_THRESHOLD, _KEPT)
