"""Teachers: any Baicai model or trunk, any causal language model in transformers' format, with the student's tokens.

Shape suffixes: B sequences, S positions, E width of what a head reads, V vocabulary.
"""

import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import tokenizers
import torch
from safetensors import SafetensorError
from torch import Tensor

from baicai.artefact import file_hash, find, read_json, value_hash
from baicai.config import canonical
from baicai.data.tokenizer import FILE, Tokenizer
from baicai.errors import ArtefactError, MachineError
from baicai.leaves.join import SparseModel, open_model
from baicai.model.layers import has_fast_bfloat16
from baicai.model.transformer import check_room


class Teacher(ABC):
    """A frozen model that a student learns from."""

    def __init__(self, name: str, digest: str, device: torch.device, vocab_size: int, max_tokens: int) -> None:
        self.name, self.hash, self.device = name, digest, device
        self.vocab_size = vocab_size
        """Of the tokenizer: an embedding may have more rows, which stand for nothing."""
        self.max_tokens = max_tokens

    @abstractmethod
    def hidden(self, tokens_BS: Tensor) -> Tensor:
        """Return what the head reads, [B, S, E].

        Raises: ConfigError if the tokens are more than the model takes.
        """

    @abstractmethod
    def _head(self, hidden_E: Tensor) -> Tensor: ...

    @final
    @torch.no_grad()
    def logits(self, hidden_E: Tensor) -> Tensor:
        """Return the logits [..., V] of the next tokens for hidden states [..., E], in float32.

        Raises: ArtefactError if one is not finite.
        """
        logits_V = self._head(hidden_E)[..., : self.vocab_size].float()
        if not logits_V.isfinite().all():
            raise ArtefactError(f"teacher {self.name} gives logits that are not finite: do not use it, or mend it")
        return logits_V


def open_teacher(reference: str | Path, tokenizer: Tokenizer, device: torch.device) -> Teacher:
    """Return the teacher that a path or a hash stands for, checked to have the student's vocabulary.

    Raises: ArtefactError if it is missing, damaged, or its tokens are not the student's; MachineError if it is in
    transformers' format and that is not installed.
    """
    path = find(reference)
    if not (path / "model.toml").exists() and (path / "config.json").exists():
        config = read_json(path / "config.json")
        if "model_type" in config:
            _check_vocabulary(path, _definition(path), tokenizer)
            return _Transformers(path, tokenizer, device)
    model = open_model(reference)
    if model.tokenizer.hash != tokenizer.hash:
        _check_vocabulary(path, model.tokenizer.definition, tokenizer)
    return _Sparse(str(reference), model, tokenizer, device)


class _Sparse(Teacher):
    """A Baicai model, all its leaves on."""

    def __init__(self, name: str, model: SparseModel, tokenizer: Tokenizer, device: torch.device) -> None:
        super().__init__(name, model.hash, device, tokenizer.vocab_size, model.model.config.max_tokens)
        self._model = model.model.requires_grad_(False).eval().to(device)
        self._autocast = torch.autocast(device.type, torch.bfloat16, enabled=has_fast_bfloat16(device))

    @torch.no_grad()
    def hidden(self, tokens_BS: Tensor) -> Tensor:
        with self._autocast:
            return self._model.hidden(tokens_BS)

    def _head(self, hidden_E: Tensor) -> Tensor:
        return self._model.logits(hidden_E)


class _Transformers(Teacher):
    """A folder in transformers' format, without its own code and without pickles."""

    def __init__(self, folder: Path, tokenizer: Tokenizer, device: torch.device) -> None:
        try:
            import transformers
        except ImportError:
            raise MachineError(
                f"teacher {folder} is in transformers' format, which is not installed: pip install transformers"
            ) from None
        self._network = _load(transformers, folder, device)
        files = [folder / "config.json", folder / FILE, *sorted(folder.glob("*.safetensors"))]
        digest = value_hash({file.name: file_hash(file) for file in files})
        room = getattr(self._network.config.get_text_config(), "max_position_embeddings", sys.maxsize)
        super().__init__(str(folder), digest, device, tokenizer.vocab_size, room)
        rows = self._network.get_output_embeddings().weight.shape[0]
        if rows < tokenizer.vocab_size:
            raise ArtefactError(
                f"teacher {folder} has {rows} logits for {tokenizer.vocab_size} tokens: its tokenizer is another's"
            )
        # Some families scale or cap what the head says: their logits are all made at once.
        self._plain = False
        if self._network.base_model is not self._network:
            tried_BS = torch.arange(4, device=device)[None]
            whole_BSV = self.hidden(tried_BS)
            self._plain = True
            self._plain = torch.equal(self._head(self.hidden(tried_BS)), whole_BSV)

    @torch.no_grad()
    def hidden(self, tokens_BS: Tensor) -> Tensor:
        check_room(tokens_BS.shape[1], self.max_tokens)
        network, options = self._network, {"use_cache": False}
        found: Tensor = (
            network.base_model(tokens_BS, **options).last_hidden_state
            if self._plain
            else network(tokens_BS, **options).logits
        )
        return found

    def _head(self, hidden_E: Tensor) -> Tensor:
        made: Tensor = self._network.get_output_embeddings()(hidden_E) if self._plain else hidden_E
        return made


def _load(transformers: Any, folder: Path, device: torch.device) -> Any:
    transformers.utils.logging.disable_progress_bar()
    dtype = "auto" if has_fast_bfloat16(device) else torch.float32
    try:
        network, told = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, local_files_only=True, output_loading_info=True
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ArtefactError(f"teacher {folder} cannot be opened by transformers: {why}") from None
    if told["missing_keys"]:  # it would draw them
        raise ArtefactError(f"teacher {folder} lacks tensor '{min(told['missing_keys'])}': copy it again")
    return network.requires_grad_(False).eval().to(device)


def _definition(folder: Path) -> dict[str, Any]:
    if not (folder / FILE).exists():
        raise ArtefactError(f"teacher {folder} has no {FILE}, so its tokens cannot be told: save its tokenizer there")
    return read_json(folder / FILE)


def _check_vocabulary(path: Path, definition: Mapping[str, Any], tokenizer: Tokenizer) -> None:
    """Refuse a teacher whose ids stand for other tokens than the student's.

    Raises: ArtefactError that names the first one.
    """
    theirs, ours = _names(definition), _names(tokenizer.definition)
    for number in sorted(theirs.keys() | ours.keys()):
        there, here = theirs.get(number), ours.get(number)
        if there != here:
            raise ArtefactError(
                f"teacher {path} and the student have different vocabularies: token {number} is {there!r} there, "
                f"{here!r} here; take a teacher with the student's tokenizer, or the student's from the teacher"
            )


def _names(definition: Any) -> dict[int, str]:
    try:
        vocabulary = tokenizers.Tokenizer.from_buffer(canonical(definition)).get_vocab(with_added_tokens=True)
    except ValueError as error:
        raise ArtefactError(f"a teacher's {FILE} is no tokenizer: {error}") from None
    return {number: name for name, number in vocabulary.items()}
