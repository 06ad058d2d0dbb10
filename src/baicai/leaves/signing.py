"""Signatures of leaves: OpenSSF model signing with a key pair on disk, no network.

Source: https://github.com/sigstore/model-transparency (the `model-signing` package).
"""

from pathlib import Path
from typing import Any

from baicai.errors import ArtefactError, ConfigError, MachineError

SIGNATURE_FILE = "leaf.sig"


def sign_leaf(folder: Path, private_key: str) -> None:
    """Sign every file of a leaf's folder with an elliptic-curve key (PEM) and put the signature beside them.

    Raises: ConfigError if the key cannot be read, MachineError if the package is missing.
    """
    model_signing = _library()
    try:
        signer = model_signing.signing.Config().use_elliptic_key_signer(private_key=private_key)
        signer.set_hashing_config(_all_but_signature(folder)).sign(folder, folder / SIGNATURE_FILE)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(
            f"sign_key {private_key} cannot sign ({error}): give an unencrypted P-256 key in PEM"
        ) from None


def is_signed(folder: Path) -> bool:
    """Return whether a leaf carries a signature, of whomever."""
    return (folder / SIGNATURE_FILE).exists()


def verify_signature(folder: Path, public_keys: list[str]) -> None:
    """Return if one of the keys (PEM) signed exactly these files.

    Raises: ArtefactError if none did, MachineError if the package is missing.
    """
    model_signing = _library()
    if not is_signed(folder):
        raise ArtefactError(f"leaf {folder} is not signed, and trusted_keys asks for it: get a signed copy")
    reasons = []
    for key in public_keys:
        try:
            verifier = model_signing.verifying.Config().use_elliptic_key_verifier(public_key=key)
            verifier.set_hashing_config(_all_but_signature(folder)).verify(folder, folder / SIGNATURE_FILE)
            return
        except (OSError, ValueError, TypeError) as error:
            reasons.append(f"{key}: {error}")
    raise ArtefactError(f"leaf {folder} is signed by none of trusted_keys ({'; '.join(reasons)}): do not use it")


def _all_but_signature(folder: Path) -> Any:
    return _library().hashing.Config().set_ignored_paths(paths=[folder / SIGNATURE_FILE], ignore_git_paths=False)


def _library() -> Any:
    try:
        import model_signing
    except ImportError:
        raise MachineError("signatures need a package: pip install 'baicai[signing]'") from None
    return model_signing
