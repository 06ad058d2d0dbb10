"""Inference: decoders that run a model token by token, and text generation on top of them.

Numba's machine code is cached next to the package, or in the user's folder if the package is read-only. The cache
folder is named after the hash of all sources, because numba itself checks only the file that a compiled function is in.
"""

import hashlib
import os
from pathlib import Path

import numba

from baicai.artefact import home_folder

_HERE = Path(__file__).parent
_SOURCES = hashlib.sha256(b"".join(file.read_bytes() for file in sorted(_HERE.rglob("*.py")))).hexdigest()
_CACHE_ROOT = _HERE / "__pycache__" if os.access(_HERE, os.W_OK) else home_folder() / "compiled"
COMPILED = _CACHE_ROOT / _SOURCES[:16]
setattr(numba.config, "CACHE_DIR", str(COMPILED))  # noqa: B010  (numba.config sets its names at run time)
