"""Signatures of leaves: OpenSSF model signing with a key pair on disk, without network access.

Source: https://github.com/sigstore/model-transparency (the `model-signing` package).
"""

from pathlib import Path
from typing import Any

from baicai.errors import ArtefactError, ConfigError, MachineError

SIGNATURE_FILE = "leaf.sig"


def sign_leaf(folder: Path, private_key: str) -> None:
    """Sign all files of a leaf's folder with an elliptic-curve key (PEM), and add the signature to the folder.

    Raises: ConfigError if the key cannot be read, MachineError if the package is missing.
    """
    model_signing = _library()
    try:
        signer = model_signing.signing.Config().use_elliptic_key_signer(private_key=private_key)
        signer.set_hashing_config(_hashing_config(folder)).sign(folder, folder / SIGNATURE_FILE)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(
            f"sign_key {private_key} cannot sign ({error}): give an unencrypted P-256 key in PEM"
        ) from None


def is_signed(folder: Path) -> bool:
    """Return whether a leaf has a signature, by any key."""
    return (folder / SIGNATURE_FILE).exists()


def verify_signature(folder: Path, public_keys: list[str]) -> None:
    """Check that one of the public keys (PEM) signed exactly these files.

    Raises: ArtefactError if none of them did, MachineError if the package is missing.
    """
    model_signing = _library()
    if not is_signed(folder):
        raise ArtefactError(f"leaf {folder} is not signed, but trusted_keys requires a signature: get a signed copy")
    reasons = []
    for key in public_keys:
        try:
            verifier = model_signing.verifying.Config().use_elliptic_key_verifier(public_key=key)
            verifier.set_hashing_config(_hashing_config(folder)).verify(folder, folder / SIGNATURE_FILE)
            return
        except (OSError, ValueError, TypeError) as error:
            reasons.append(f"{key}: {error}")
    raise ArtefactError(f"leaf {folder} is signed by none of trusted_keys ({'; '.join(reasons)}): do not use it")


def _hashing_config(folder: Path) -> Any:
    return _library().hashing.Config().set_ignored_paths(paths=[folder / SIGNATURE_FILE], ignore_git_paths=False)


def _library() -> Any:
    try:
        import model_signing
    except ImportError:
        raise MachineError("the package model-signing is not installed: pip install 'baicai[signing]'") from None
    return model_signing
