"""Signatures of leaves."""

import shutil
from pathlib import Path

import pytest

from baicai.errors import ArtefactError, ConfigError
from baicai.leaves.grow import grow_leaf
from baicai.leaves.join import JoinRecipe, join_leaves
from baicai.leaves.signing import verify_signature
from baicai.run import run_stage
from tests.conftest import Workshop, grow_recipe

pytest.importorskip("model_signing")


def key_pair(folder: Path, name: str) -> tuple[str, str]:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    private, public = folder / f"{name}.key", folder / f"{name}.pub"
    secret = serialization.PrivateFormat.PKCS8
    private.write_bytes(key.private_bytes(serialization.Encoding.PEM, secret, serialization.NoEncryption()))
    shown = serialization.PublicFormat.SubjectPublicKeyInfo
    public.write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, shown))
    return str(private), str(public)


def test_a_signed_leaf_is_accepted_only_with_its_key(workshop: Workshop, tmp_path: Path) -> None:
    private, public = key_pair(tmp_path, "clinic")
    _, stranger = key_pair(tmp_path, "stranger")
    run_stage(grow_leaf, grow_recipe(workshop, "fruit", sign_key=private), tmp_path / "leaf")
    verify_signature(tmp_path / "leaf", [stranger, public])
    recipe = JoinRecipe(trunk=workshop.path("trunk"), leaves=[str(tmp_path / "leaf")], trusted_keys=[stranger])
    with pytest.raises(ArtefactError, match="signed by none of trusted_keys"):
        run_stage(join_leaves, recipe, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_changed_or_unsigned_leaf_is_rejected(workshop: Workshop, tmp_path: Path) -> None:
    private, public = key_pair(tmp_path, "clinic")
    run_stage(grow_leaf, grow_recipe(workshop, "fruit", sign_key=private), tmp_path / "leaf")
    moved = tmp_path / "moved"
    shutil.copytree(tmp_path / "leaf", moved)
    verify_signature(moved, [public])
    (moved / "README.md").write_text("another licence")
    with pytest.raises(ArtefactError, match="do not use it"):
        verify_signature(moved, [public])
    with pytest.raises(ArtefactError, match="is not signed"):
        verify_signature(Path(workshop.path("fruit")), [public])


def test_a_leaf_does_not_reveal_paths(workshop: Workshop) -> None:
    for file in Path(workshop.path("fruit")).glob("*.*"):
        assert str(workshop.folder).encode() not in file.read_bytes()


def test_a_key_that_cannot_sign_is_a_one_line_error_and_writes_nothing(workshop: Workshop, tmp_path: Path) -> None:
    (tmp_path / "bad.key").write_text("no key")
    recipe = grow_recipe(workshop, "fruit", sign_key=str(tmp_path / "bad.key"))
    with pytest.raises(ConfigError, match="sign_key"):
        run_stage(grow_leaf, recipe, tmp_path / "leaf")
    assert not (tmp_path / "leaf").exists()
