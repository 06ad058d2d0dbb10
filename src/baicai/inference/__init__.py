"""Decoding. What numba compiles is kept beside the package or, where that cannot be written, in the user's folder.

The folder is named after the sources: numba itself looks only at the file that a compiled function is in.
"""

import hashlib
import os
from pathlib import Path

import numba

from baicai.artefact import home_folder

_HERE = Path(__file__).parent
_SOURCES = hashlib.sha256(b"".join(file.read_bytes() for file in sorted(_HERE.rglob("*.py")))).hexdigest()
_ROOM = _HERE / "__pycache__" if os.access(_HERE, os.W_OK) else home_folder() / "compiled"
COMPILED = _ROOM / _SOURCES[:16]
setattr(numba.config, "CACHE_DIR", str(COMPILED))  # noqa: B010  (mypy knows no such name)
