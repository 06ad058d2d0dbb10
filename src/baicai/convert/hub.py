"""Download checkpoints from the Hugging Face Hub."""

import re
from pathlib import Path

from baicai.errors import ArtefactError, MachineError

ALLOW_PATTERNS = ["*.safetensors", "*.json", "*.jinja", "README.md"]
"""Files to download: weights and settings, but no pickles and no Python code."""


def download_checkpoint(source: str) -> Path:
    """Return the folder of a checkpoint, downloading it if `source` is not a folder but a name on the hub (ORG/NAME).

    Raises: ArtefactError if `source` is neither, MachineError if the hub cannot be reached.
    """
    folder = Path(source)
    if folder.is_dir():
        return folder
    if folder.exists() or not re.fullmatch(r"[\w.-]+/[\w.-]+", source):
        raise ArtefactError(
            f"{source} is not a folder: pass the folder of a checkpoint or its name on the hub (ORG/NAME)"
        )
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    except ImportError:
        raise MachineError(
            f"{source} is not a local folder, and downloading needs huggingface_hub: pip install 'baicai[hub]'"
        ) from None
    try:
        return Path(snapshot_download(source, allow_patterns=ALLOW_PATTERNS))
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise MachineError(
            f"{source} is not a local folder and cannot be downloaded ({reason}): check the name and the network"
        ) from None
