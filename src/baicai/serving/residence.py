"""Whether a file's pages are in memory, without reading any."""

import ctypes
import mmap
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
_IN_MEMORY = 1


def is_resident(path: Path) -> bool | None:
    """Return whether any page of a file is in memory, None where the system does not say."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as mapped:
            pages = (ctypes.c_ubyte * -(-len(mapped) // mmap.PAGESIZE))()
            begin = ctypes.c_char.from_buffer(mapped)
            failed = _LIBC.mincore(ctypes.c_void_p(ctypes.addressof(begin)), ctypes.c_size_t(len(mapped)), pages)
            del begin  # the map cannot be closed before
    except (OSError, ValueError, AttributeError):  # no such file, an empty one, a system without mincore
        return None
    return None if failed else any(page & _IN_MEMORY for page in bytes(pages))
