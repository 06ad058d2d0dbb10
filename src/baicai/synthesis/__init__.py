"""Generated text: private worlds, worked arithmetic, and text that ships with Python.

The generators are household, arithmetic, market_zh, python_library and python_docs. A text depends only on the name and
the parameters (for the last two also on the Python version), so nothing is downloaded. One document in ten is held out
for validation, by the hash of its content or file.
"""

import random
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from hashlib import sha256
from importlib import import_module
from itertools import islice
from types import ModuleType
from typing import NamedTuple

from baicai.errors import DataError

__all__ = ["NAMES", "SyntheticText", "generate"]

TEMPLATES = ("household", "arithmetic", "market_zh")
LIBRARIES = ("python_library", "python_docs")
NAMES = TEMPLATES + LIBRARIES
_PARAMETERS = {"documents": "1000", "seed": "0", "split": "train"}
_HELD_OUT = 10


class SyntheticText(NamedTuple):
    """A generated document, before `baicai.data` turns it into a `Document`."""

    id: str
    text: str
    """Empty if the document is a conversation."""
    source: str
    licence: str
    messages: tuple[tuple[str, str], ...] = ()
    """Role and content of each turn."""


def generate(name: str, params: Mapping[str, str]) -> Iterator[SyntheticText]:
    """Yield the documents of a generator; they are the same on every machine.

    Args:
        name: one of `NAMES`.
        params: all generators take documents (their number), seed, and split (train or valid, which share no
            document). household and market_zh take world: "many" for a new world in each document, or the number of a
            private world. arithmetic takes level, 1 to 3. The python generators may yield fewer documents.

    Raises: DataError if the name, a parameter or a value is unknown.
    """
    if name not in NAMES:
        raise DataError(f"unknown generator '{name}'{_nearest(name, NAMES)}: choose one of {', '.join(NAMES)}")
    module = import_module(f"{__name__}.{name}")
    settings = _settings(name, module, params)
    count = int(settings["documents"])
    if name in LIBRARIES:
        return islice(_from_library(name, module, settings), count)
    return islice(_from_templates(name, module, settings), count)


def _from_templates(name: str, module: ModuleType, settings: Mapping[str, str]) -> Iterator[SyntheticText]:
    own = {key: settings[key] for key in module.PARAMETERS}
    source = f"baicai:{name}" + "".join(
        f"{mark}{key}={value}" for mark, (key, value) in zip("?&&&", own.items(), strict=False)
    )
    prefix = "/".join([name, *own.values(), settings["split"], settings["seed"]])
    index = 0
    while True:
        content = module.write(random.Random(f"{prefix}/{index}"), own)
        index += 1
        messages: tuple[tuple[str, str], ...] = ()
        if not isinstance(content, str):
            messages = tuple((role, text) for role, text in content)
            content = "\n".join(text for _, text in messages)
        digest = sha256(content.encode())
        if (digest.digest()[0] % _HELD_OUT == 0) == (settings["split"] == "valid"):
            yield SyntheticText(digest.hexdigest()[:16], "" if messages else content, source, "CC0-1.0", messages)


def _from_library(name: str, module: ModuleType, settings: Mapping[str, str]) -> Iterator[SyntheticText]:
    files: list[str] = module.files()
    selected = [
        file
        for file in sorted(files)
        if (sha256(file.encode()).digest()[0] % _HELD_OUT == 0) == (settings["split"] == "valid")
    ]
    random.Random(f"{name}/{settings['seed']}").shuffle(selected)
    for file in selected:
        for text in module.texts(file):
            yield SyntheticText(sha256(f"{file}\n{text}".encode()).hexdigest()[:16], text, "python:stdlib", "PSF-2.0")


def _settings(name: str, module: ModuleType, params: Mapping[str, str]) -> dict[str, str]:
    defaults: dict[str, str] = _PARAMETERS | module.PARAMETERS
    for key in params:
        if key not in defaults:
            raise DataError(
                f"generator '{name}' has no parameter '{key}'{_nearest(key, defaults)}: it takes {', '.join(defaults)}"
            )
    settings = defaults | {key: str(value) for key, value in params.items()}
    allowed = {
        "documents": (settings["documents"].isdecimal(), "a whole number"),
        "split": (settings["split"] in ("train", "valid"), "train or valid"),
        "world": (settings.get("world", "many") == "many" or settings["world"].isdecimal(), "'many' or a whole number"),
        "level": (settings.get("level", "1") in ("1", "2", "3"), "1, 2 or 3"),
    }
    for key, (valid, expected) in allowed.items():
        if not valid:
            raise DataError(f"generator '{name}': {key} is '{settings[key]}', but it must be {expected}")
    return settings


def _nearest(word: str, defaults: Mapping[str, str] | tuple[str, ...]) -> str:
    near = get_close_matches(word, list(defaults), 1, 0.3)
    return f", did you mean '{near[0]}'?" if near else ""
