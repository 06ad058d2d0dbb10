"""Teachers: any Baicai model or trunk, any causal language model in transformers' format.

Shape suffixes: B sequences, S positions, P prompt, E width of what a head reads, V vocabulary, G leaves.
"""

import copy
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from inspect import signature
from pathlib import Path
from typing import Any, final

import tokenizers
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from baicai.artefact import file_hash, find_artefact, read_json, value_hash
from baicai.config import canonical_json
from baicai.data.hf_tokenizer import read_tokenizer
from baicai.data.shards import TokenShards
from baicai.data.tokenizer import TOKENIZER_FILE, Tokenizer
from baicai.distillation.measuring.metrics import LanguageModel
from baicai.distillation.sizing import Shape
from baicai.errors import ArtefactError, ConfigError, DataError, MachineError
from baicai.inference.generate import sample_batch
from baicai.leaves.model import SparseModel, open_model
from baicai.model.config import GQAConfig, ModelConfig
from baicai.model.cost import count_cost
from baicai.model.layers import has_fast_bfloat16
from baicai.model.transformer import KVCache, check_length

MAX_TOKENS = 4096
"""A student reads no further, unless its recipe's sequences are longer."""


class Teacher(ABC):
    """A frozen model that a student learns from."""

    sparse: SparseModel | None = None
    """The model itself, where it is one of ours."""
    network: nn.Module

    def __init__(self, name: str, digest: str, device: torch.device, tokenizer: Tokenizer, max_tokens: int) -> None:
        self.name, self.hash, self.device = name, digest, device
        self.tokenizer = tokenizer
        """The student's where that has the same vocabulary, else its own."""
        self.vocab_size = tokenizer.vocab_size
        """An embedding may have more rows, which stand for nothing."""
        self.max_tokens = max_tokens

    @property
    def num_parameters(self) -> int:
        """Number of its weights."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    @property
    def num_bytes(self) -> int:
        """Memory of its weights, in the types they are stored in."""
        return sum(parameter.numel() * parameter.element_size() for parameter in self.network.parameters())

    @property
    @abstractmethod
    def shape(self) -> Shape:
        """Its sizes; of a network that is not ours, those of ours that come nearest."""

    @property
    @abstractmethod
    def flops_per_token(self) -> int:
        """Operations of a forward pass: two for each weight of a matrix product."""

    @abstractmethod
    def hidden(self, tokens_BS: Tensor) -> Tensor:
        """Return what the head reads, [B, S, E].

        Raises: ConfigError if the tokens are more than the model takes.
        """

    def leaves(self) -> Mapping[str, LanguageModel]:
        """Return the teacher with one leaf on, for each that it has."""
        return {}

    @abstractmethod
    def _reader(self, room: int) -> Callable[[Tensor], Tensor]:
        """Return what reads on in texts of up to `room` tokens, and gives what the head reads at their ends, [B, E]."""

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

    @final
    def generate(self, prompts_BP: Tensor, num_tokens: int, seed: int, temperature: float = 1.0) -> Tensor:
        """Return how it goes on after prompts of one length, [B, num_tokens], past the ends of documents.

        Raises: ConfigError if that is more than it takes, ArtefactError if a logit is not finite.
        """
        room = prompts_BP.shape[1] + num_tokens - 1
        check_length(room, self.max_tokens)
        read = self._reader(room)
        return sample_batch(
            lambda tokens_BS: self.logits(read(tokens_BS)), prompts_BP.to(self.device), num_tokens, seed, temperature
        )

    @final
    def num_windows(self, shards: TokenShards, length: int) -> int:
        """Return how many windows of a corpus it can be asked about.

        Raises: DataError if there is none, ConfigError if it takes no window as long.
        """
        windows = shards.num_windows(length)
        if not windows:
            raise DataError(f"{shards.folder} has {shards.num_tokens} tokens, a window has {length + 1}: add text")
        if length > self.max_tokens:
            raise ConfigError(f"teacher {self.name} takes at most {self.max_tokens} tokens, a sequence has {length}")
        return windows


def open_teacher(reference: str | Path, tokenizer: Tokenizer | None, device: torch.device) -> Teacher:
    """Return the teacher that a path or a hash stands for, checked to have the student's vocabulary.

    Without a tokenizer of the student it has its own.

    Raises: ArtefactError if it is missing, damaged, or its tokens are not the student's; MachineError if it is in
    transformers' format and that is not installed.
    """
    path = find_artefact(reference)
    if not (path / "model.toml").exists() and (path / "config.json").exists():
        config = read_json(path / "config.json")
        if "model_type" in config:
            if tokenizer is not None:
                _check_vocabulary(path, _definition(path), tokenizer)
            return _Transformers(path, tokenizer or read_tokenizer(path, config)[0], device)
    model = open_model(reference)
    if tokenizer is not None and model.tokenizer.hash != tokenizer.hash:
        _check_vocabulary(path, model.tokenizer.definition, tokenizer)
    return _Sparse(str(reference), model, tokenizer or model.tokenizer, device)


class _Sparse(Teacher):
    """A Baicai model, all its leaves on."""

    def __init__(self, name: str, model: SparseModel, tokenizer: Tokenizer, device: torch.device) -> None:
        super().__init__(name, model.hash, device, tokenizer, model.network.config.max_tokens)
        self.sparse = model
        self.network = self._model = model.network.requires_grad_(False).eval().to(device)
        self._autocast = torch.autocast(device.type, torch.bfloat16, enabled=has_fast_bfloat16(device))
        self._on_1G: Tensor | None = None

    @property
    def num_parameters(self) -> int:
        return self.shape.num_parameters()

    @property
    def shape(self) -> Shape:
        return Shape(self._model.config, self._model.leaf_config, len(self._model.leaves))

    @property
    def flops_per_token(self) -> int:
        return count_cost(self._model).flops_per_token

    @torch.no_grad()
    def hidden(self, tokens_BS: Tensor) -> Tensor:
        on_BG = None if self._on_1G is None else self._on_1G.expand(len(tokens_BS), -1)
        with self._autocast:
            return self._model.hidden(tokens_BS, on_BG=on_BG)

    def leaves(self) -> Mapping[str, LanguageModel]:
        found = {}
        for name in self._model.leaves:
            found[name] = copy.copy(self)
            found[name]._on_1G = self._model.leaf_mask([name])
        return found

    def _reader(self, room: int) -> Callable[[Tensor], Tensor]:
        cache = KVCache(self._model.config, room)

        def read(tokens_BS: Tensor) -> Tensor:
            with self._autocast:
                return self._model.hidden(tokens_BS, cache=cache)[:, -1]

        return read

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
        self.network = self._network = _load(transformers, folder, device)
        files = [folder / "config.json", folder / TOKENIZER_FILE, *sorted(folder.glob("*.safetensors"))]
        digest = value_hash({file.name: file_hash(file) for file in files})
        room = getattr(self._network.config.get_text_config(), "max_position_embeddings", sys.maxsize)
        super().__init__(str(folder), digest, device, tokenizer, room)
        rows = self._network.get_output_embeddings().weight.shape[0]
        if rows < tokenizer.vocab_size:
            raise ArtefactError(
                f"teacher {folder} has {rows} logits for {tokenizer.vocab_size} tokens: its tokenizer is another's"
            )
        # Some families scale or cap what the head says: their logits are all made at once.
        self._plain = False
        # What a network keeps of the tokens has another name in newer releases of transformers.
        self._kept = "cache" if "cache" in signature(self._network.forward).parameters else "past_key_values"
        if self._network.base_model is not self._network:
            tried_BS = torch.arange(4, device=device)[None]
            whole_BSV = self.hidden(tried_BS)
            self._plain = True
            self._plain = torch.equal(self._head(self.hidden(tried_BS)), whole_BSV)

    @property
    def shape(self) -> Shape:
        theirs = self._network.config.get_text_config()
        heads = theirs.num_attention_heads
        head_dim = getattr(theirs, "head_dim", None) or theirs.hidden_size // heads
        sizes = ModelConfig(
            vocab_size=self.vocab_size,
            dim=theirs.hidden_size,
            num_layers=theirs.num_hidden_layers,
            ffn_dim=getattr(theirs, "intermediate_size", None) or 4 * theirs.hidden_size,
            attention=GQAConfig(
                num_heads=heads,
                num_kv_heads=getattr(theirs, "num_key_value_heads", None) or heads,
                head_dim=head_dim + head_dim % 2,
                qk_norm=True,
            ),
            max_tokens=min(self.max_tokens, MAX_TOKENS),
        )
        return Shape(sizes)

    @property
    def flops_per_token(self) -> int:
        looked_up = self._network.get_input_embeddings().weight
        tied = looked_up is self._network.get_output_embeddings().weight
        return 2 * (self.num_parameters - (0 if tied else looked_up.numel()))

    @torch.no_grad()
    def hidden(self, tokens_BS: Tensor) -> Tensor:
        check_length(tokens_BS.shape[1], self.max_tokens)
        return self._read(tokens_BS, use_cache=False)[0]

    def _read(self, tokens_BS: Tensor, **options: Any) -> tuple[Tensor, Any]:
        """Return what the head reads, and what the network keeps of the tokens."""
        found = (self._network.base_model if self._plain else self._network)(tokens_BS, **options)
        return found.last_hidden_state if self._plain else found.logits, getattr(found, self._kept, None)

    def _reader(self, room: int) -> Callable[[Tensor], Tensor]:
        # Not the network's own `generate`: that follows a generation_config.json and the global generator.
        seen, kept = list[Tensor](), None

        def read(tokens_BS: Tensor) -> Tensor:
            nonlocal kept
            seen.append(tokens_BS)
            if kept is None:  # the first time, or for a network that keeps nothing every time
                hidden_BSE, kept = self._read(torch.cat(seen, 1), use_cache=True)
            else:
                hidden_BSE, kept = self._read(tokens_BS, use_cache=True, **{self._kept: kept})
            return hidden_BSE[:, -1]

        return read

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
    if not (folder / TOKENIZER_FILE).exists():
        raise ArtefactError(
            f"teacher {folder} has no {TOKENIZER_FILE}, so its tokens cannot be told: save its tokenizer there"
        )
    return read_json(folder / TOKENIZER_FILE)


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
                f"{here!r} here; take one tokenizer for both, or signal=sequences, which goes by text"
            )


def _names(definition: Any) -> dict[int, str]:
    try:
        vocabulary = tokenizers.Tokenizer.from_buffer(canonical_json(definition)).get_vocab(with_added_tokens=True)
    except ValueError as error:
        raise ArtefactError(f"a teacher's {TOKENIZER_FILE} is no tokenizer: {error}") from None
    return {number: name for name, number in vocabulary.items()}
