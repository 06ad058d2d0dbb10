"""What a teacher has made of a corpus is gone on with for the same teacher, corpus and settings alone."""

from collections.abc import Collection
from pathlib import Path
from typing import TypeVar

from baicai.artefact import read_json
from baicai.config import from_table, to_table
from baicai.errors import ArtefactError, ConfigError

FILE = "manifest.json"
M = TypeVar("M")


def resumed(folder: Path, wanted: M, what: str, free: Collection[str]) -> M:
    """Return the manifest in a folder, or the one that is wanted if there is none; keys that are `free` may differ.

    Raises: ArtefactError if the folder holds something other than `what`, or was made with other values.
    """
    file = folder / FILE
    if not file.exists():
        if folder.is_dir() and any(one.suffix != ".part" for one in folder.iterdir()):  # what a kill left is no content
            raise ArtefactError(f"{folder} exists already and is no {what}: choose another folder")
        return wanted
    try:
        found = from_table(type(wanted), read_json(file), str(file))
    except ConfigError as error:
        raise ArtefactError(f"{error}: remove {folder} and make it again") from None
    told, asked = ({**table.pop("settings"), **table} for table in map(to_table, (found, wanted)))
    for key in asked:
        if key not in free and told[key] != asked[key]:
            raise ArtefactError(
                f"{folder} was made with {key} {str(told[key])[:8]}, wanted is {str(asked[key])[:8]}: choose another "
                "folder, or remove that one"
            )
    return found
