"""Checkpoints by name, from the Hugging Face hub."""

import re
from pathlib import Path

from baicai.errors import ArtefactError, MachineError

WANTED = ["*.safetensors", "*.json", "*.jinja", "README.md"]
"""Weights without code: no pickles and no Python."""


def fetch(source: str) -> Path:
    """Return the folder of a checkpoint: `source` itself if it is one, else what the hub has of that name.

    Raises: ArtefactError if there is no such folder, MachineError if the hub cannot be reached.
    """
    folder = Path(source)
    if folder.is_dir():
        return folder
    if folder.exists() or not re.fullmatch(r"[\w.-]+/[\w.-]+", source):
        raise ArtefactError(f"{source} is no folder: give that of a checkpoint, or its name on the hub (ORG/NAME)")
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    except ImportError:
        raise MachineError(f"no folder {source} here, and no hub: pip install 'baicai[hub]' to fetch it") from None
    try:
        return Path(snapshot_download(source, allow_patterns=WANTED))
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise MachineError(
            f"{source} is no folder here and cannot be fetched from the hub ({why}): check the name and the network"
        ) from None
