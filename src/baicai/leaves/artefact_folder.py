"""Opening the folder of a trunk or a leaf: the checks that both share. Nothing is run."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from baicai.artefact import find_artefact, hash_prefix, read_json, read_tensors, tensors_hash, value_hash
from baicai.errors import ArtefactError
from baicai.leaves.card import Card, check_card

M = TypeVar("M", bound=nn.Module)


class Layout(NamedTuple):
    """Kind and file names of an artefact."""

    kind: str
    format: int
    card: str
    tensors: str
    hint: str = ""
    """Appended to the error for a folder of another kind."""


@dataclass(frozen=True)
class ArtefactFolder:
    """The folder of a trunk or a leaf, with its card read."""

    path: Path
    card: Card
    layout: Layout
    expected_hash: str
    """Prefix of the hash that the artefact must have."""

    @classmethod
    def open(cls, reference: str | Path, layout: Layout, expected_hash: str | None = None) -> "ArtefactFolder":
        """Find an artefact by path or hash and read its card.

        Args:
            reference: path, or hash of 8 digits or more.
            layout: the kind of artefact that is expected.
            expected_hash: hash that the artefact must have; by default the reference, if that is a hash.

        Raises: ArtefactError if the artefact is missing or of another kind or format.
        """
        path = find_artefact(reference)
        card = read_json(path / layout.card)
        if (card.get("kind"), card.get("format")) != (layout.kind, layout.format):
            actual = f"its card says kind={card.get('kind')}, format={card.get('format')}"
            raise ArtefactError(f"{path} is not a {layout.kind} of format {layout.format}: {actual}{layout.hint}")
        return cls(path, card, layout, expected_hash or hash_prefix(reference))

    def verify(self, **identity: object) -> dict[str, Tensor]:
        """Check content, hash and card, and return the tensors, memory-mapped.

        Args:
            identity: everything that the hash covers apart from the tensors.

        Raises: ArtefactError if the artefact is damaged or not the expected one, ConfigError if its card is invalid.
        """
        kind, digest = self.layout.kind, self.card.get("hash")
        tensors = read_tensors(self.path / self.layout.tensors)
        if value_hash(identity | {"tensors": tensors_hash(tensors)}) != digest:
            raise ArtefactError(f"{kind} {self.path} is damaged: its content does not match its hash; copy it again")
        check_expected_hash(kind, self.path, digest, self.expected_hash)
        check_card(self.card, self.path / self.layout.card)
        return tensors

    def load(self, make: Callable[[], M], tensors: dict[str, Tensor]) -> M:
        """Make a module without allocating memory, and give it the tensors of the folder, frozen.

        Raises: ArtefactError if names, shapes or types do not fit, or a value is not finite.
        """
        with torch.device("meta"):  # shapes are checked before memory is allocated
            module = make()
        load_weights(module, tensors, self.path / self.layout.tensors)
        return module.requires_grad_(False).eval()


def check_expected_hash(kind: str, path: Path, digest: str, expected: str) -> None:
    """Check that a hash begins with the expected one.

    Raises: ArtefactError
    """
    if not digest.startswith(expected):
        raise ArtefactError(f"{kind} {path} has hash {digest[:8]}, expected {expected[:8]}: pass the matching {kind}")


def load_weights(module: nn.Module, tensors: dict[str, Tensor], file: Path) -> None:
    """Give a module the tensors of a file, in the types they are stored in.

    The file is mapped a second time for loading: the pages that the checks have read are dropped with the first map,
    so that weights which are never used take no memory.

    Args:
        module: module to load into, best on the meta device.
        tensors: tensors of `file`, as `read_tensors` returned them.
        file: the safetensors file.

    Raises: ArtefactError if names, shapes or types do not fit, or a value is not finite.
    """
    expected = module.state_dict()
    for name in sorted(expected.keys() ^ tensors.keys()):
        problem = "is missing" if name in expected else "is not expected"
        raise ArtefactError(f"{file.parent}: tensor '{name}' {problem}: make the artefact again")
    for name, tensor in tensors.items():
        shapes = list(tensor.shape), list(expected[name].shape)
        if shapes[0] != shapes[1]:
            raise ArtefactError(
                f"{file.parent}: '{name}' has shape {shapes[0]}, expected {shapes[1]}: make the artefact again"
            )
        if tensor.dtype not in (torch.float32, torch.bfloat16, torch.float16):
            raise ArtefactError(
                f"{file.parent}: '{name}' has dtype {tensor.dtype}, expected float32, bfloat16 or float16"
            )
        if tensor.numel() and not torch.stack(tensor.aminmax()).isfinite().all():  # allocates no tensor of its size
            raise ArtefactError(f"{file.parent}: '{name}' holds NaN or infinite values: do not use it")
    module.load_state_dict(read_tensors(file), assign=True)
