"""Teachers: any Baicai model or trunk, and any causal language model in transformers' format.

Shape suffixes: B sequences, S positions, P prompt, E width of the head's input, V vocabulary, G leaves.
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
"""Maximum context of a student, unless its recipe has longer sequences."""


class Teacher(ABC):
    """A frozen model that a student learns from."""

    sparse: SparseModel | None = None
    """The opened model, if it is a Baicai model."""
    network: nn.Module

    def __init__(self, name: str, digest: str, device: torch.device, tokenizer: Tokenizer, max_tokens: int) -> None:
        self.name, self.hash, self.device = name, digest, device
        self.tokenizer = tokenizer
        """The student's tokenizer if one was given, which then has the same vocabulary; otherwise the teacher's own."""
        self.vocab_size = tokenizer.vocab_size
        """Vocabulary size of the tokenizer; the embedding may have further rows that stand for no token."""
        self.max_tokens = max_tokens

    @property
    def num_parameters(self) -> int:
        """Number of weights."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    @property
    def num_bytes(self) -> int:
        """Size of the weights in bytes, in the types that they are stored in."""
        return sum(parameter.numel() * parameter.element_size() for parameter in self.network.parameters())

    @property
    @abstractmethod
    def shape(self) -> Shape:
        """Sizes of the model; for a network of transformers, the nearest Baicai shape."""

    @property
    @abstractmethod
    def flops_per_token(self) -> int:
        """Operations per token of a forward pass: two per weight of a matrix product."""

    @abstractmethod
    def hidden(self, tokens_BS: Tensor) -> Tensor:
        """Return the hidden states that the head reads, [B, S, E].

        Raises: ConfigError if the sequences exceed the model's context.
        """

    def single_leaf_models(self) -> Mapping[str, LanguageModel]:
        """Return, for each leaf, the teacher with only that leaf active."""
        return {}

    @abstractmethod
    def _incremental_model(self, max_tokens: int) -> Callable[[Tensor], Tensor]:
        """Return a function with a KV cache for up to `max_tokens` tokens per sequence.

        It appends tokens [B, S] to the sequences and returns the hidden states at their ends, [B, E].
        """

    @abstractmethod
    def _head(self, hidden_E: Tensor) -> Tensor: ...

    @final
    @torch.no_grad()
    def logits(self, hidden_E: Tensor) -> Tensor:
        """Return the logits of the next tokens, [..., V], float32, for hidden states [..., E].

        Raises: ArtefactError if a logit is not finite.
        """
        logits_V = self._head(hidden_E)[..., : self.vocab_size].float()
        if not logits_V.isfinite().all():
            raise ArtefactError(f"teacher {self.name} produces logits that are not finite: use another teacher")
        return logits_V

    @final
    def generate(self, prompts_BP: Tensor, num_tokens: int, seed: int, temperature: float = 1.0) -> Tensor:
        """Continue prompts of equal length by `num_tokens` tokens each, also past ends of documents.

        Temperature 0 is greedy. The result depends on the seed alone, not on the global random state.

        Returns: the generated tokens, [B, num_tokens].
        Raises: ConfigError if the sequences exceed the model's context, ArtefactError if a logit is not finite.
        """
        max_tokens = prompts_BP.shape[1] + num_tokens - 1  # the last token is not read
        check_length(max_tokens, self.max_tokens)
        read = self._incremental_model(max_tokens)
        return sample_batch(
            lambda tokens_BS: self.logits(read(tokens_BS)), prompts_BP.to(self.device), num_tokens, seed, temperature
        )

    @final
    def num_windows(self, shards: TokenShards, length: int) -> int:
        """Return the number of windows of `length` tokens in a corpus.

        Raises: DataError if the corpus is shorter than one window, ConfigError if a window exceeds the model's context.
        """
        windows = shards.num_windows(length)
        if not windows:
            raise DataError(f"{shards.folder} has {shards.num_tokens} tokens, but a window has {length + 1}: add text")
        if length > self.max_tokens:
            raise ConfigError(
                f"teacher {self.name} takes at most {self.max_tokens} tokens, but a sequence has {length}"
            )
        return windows


def open_teacher(reference: str | Path, tokenizer: Tokenizer | None, device: torch.device) -> Teacher:
    """Open the teacher at a path or with a hash.

    With `tokenizer`, the student's, the teacher is checked to have the same vocabulary and uses that tokenizer. With
    None it uses its own.

    Raises: ArtefactError if it is missing or damaged or its vocabulary differs from the student's; MachineError if it
    is in transformers' format and transformers is not installed.
    """
    path = find_artefact(reference)
    if not (path / "model.toml").exists() and (path / "config.json").exists():
        config = read_json(path / "config.json")
        if "model_type" in config:
            if tokenizer is not None:
                _check_vocabulary(path, _definition(path), tokenizer)
            return _TransformersTeacher(path, tokenizer or read_tokenizer(path, config)[0], device)
    model = open_model(reference)
    if tokenizer is not None and model.tokenizer.hash != tokenizer.hash:
        _check_vocabulary(path, model.tokenizer.definition, tokenizer)
    return _BaicaiTeacher(str(reference), model, tokenizer or model.tokenizer, device)


class _BaicaiTeacher(Teacher):
    """A Baicai model with all its leaves active."""

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

    def single_leaf_models(self) -> Mapping[str, LanguageModel]:
        models = {}
        for name in self._model.leaves:
            models[name] = copy.copy(self)
            models[name]._on_1G = self._model.leaf_mask([name])
        return models

    def _incremental_model(self, max_tokens: int) -> Callable[[Tensor], Tensor]:
        cache = KVCache(self._model.config, max_tokens)

        def read(tokens_BS: Tensor) -> Tensor:
            with self._autocast:
                return self._model.hidden(tokens_BS, cache=cache)[:, -1]

        return read

    def _head(self, hidden_E: Tensor) -> Tensor:
        return self._model.logits(hidden_E)


class _TransformersTeacher(Teacher):
    """A model in transformers' format, opened without its own Python code and without pickle files."""

    def __init__(self, folder: Path, tokenizer: Tokenizer, device: torch.device) -> None:
        try:
            import transformers
        except ImportError:
            raise MachineError(
                f"teacher {folder} needs transformers, which is not installed: pip install transformers"
            ) from None
        self.network = self._network = _load(transformers, folder, device)
        files = [folder / "config.json", folder / TOKENIZER_FILE, *sorted(folder.glob("*.safetensors"))]
        digest = value_hash({file.name: file_hash(file) for file in files})
        max_tokens = getattr(self._network.config.get_text_config(), "max_position_embeddings", sys.maxsize)
        super().__init__(str(folder), digest, device, tokenizer, max_tokens)
        rows = self._network.get_output_embeddings().weight.shape[0]
        if rows < tokenizer.vocab_size:
            raise ArtefactError(
                f"teacher {folder} has {rows} logits, but its tokenizer has {tokenizer.vocab_size} tokens: "
                "the tokenizer belongs to another model"
            )
        # Some families scale or cap the logits after the head. Their logits are computed by the whole network at once,
        # and count as hidden states.
        self._plain_head = False
        # The argument for the KV cache has another name in newer releases of transformers.
        self._cache_name = "cache" if "cache" in signature(self._network.forward).parameters else "past_key_values"
        if self._network.base_model is not self._network:
            probe_BS = torch.arange(4, device=device)[None]
            logits_BSV = self.hidden(probe_BS)
            self._plain_head = True
            self._plain_head = torch.equal(self._head(self.hidden(probe_BS)), logits_BSV)

    @property
    def shape(self) -> Shape:
        config = self._network.config.get_text_config()
        heads = config.num_attention_heads
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
        sizes = ModelConfig(
            vocab_size=self.vocab_size,
            dim=config.hidden_size,
            num_layers=config.num_hidden_layers,
            ffn_dim=getattr(config, "intermediate_size", None) or 4 * config.hidden_size,
            attention=GQAConfig(
                num_heads=heads,
                num_kv_heads=getattr(config, "num_key_value_heads", None) or heads,
                head_dim=head_dim + head_dim % 2,
                qk_norm=True,
            ),
            max_tokens=min(self.max_tokens, MAX_TOKENS),
        )
        return Shape(sizes)

    @property
    def flops_per_token(self) -> int:
        embedding = self._network.get_input_embeddings().weight
        tied = embedding is self._network.get_output_embeddings().weight
        return 2 * (self.num_parameters - (0 if tied else embedding.numel()))

    @torch.no_grad()
    def hidden(self, tokens_BS: Tensor) -> Tensor:
        check_length(tokens_BS.shape[1], self.max_tokens)
        return self._read(tokens_BS, use_cache=False)[0]

    def _read(self, tokens_BS: Tensor, **options: Any) -> tuple[Tensor, Any]:
        """Return the hidden states, and the network's KV cache or None."""
        output = (self._network.base_model if self._plain_head else self._network)(tokens_BS, **options)
        return output.last_hidden_state if self._plain_head else output.logits, getattr(output, self._cache_name, None)

    def _incremental_model(self, max_tokens: int) -> Callable[[Tensor], Tensor]:
        # The network's own `generate` would follow its generation_config.json and the global random state.
        inputs, cache = list[Tensor](), None

        def read(tokens_BS: Tensor) -> Tensor:
            nonlocal cache
            inputs.append(tokens_BS)
            if cache is None:  # at the first call, and at every call of a network without a cache of this name
                hidden_BSE, cache = self._read(torch.cat(inputs, 1), use_cache=True)
            else:
                hidden_BSE, cache = self._read(tokens_BS, use_cache=True, **{self._cache_name: cache})
            return hidden_BSE[:, -1]

        return read

    def _head(self, hidden_E: Tensor) -> Tensor:
        logits: Tensor = self._network.get_output_embeddings()(hidden_E) if self._plain_head else hidden_E
        return logits


def _load(transformers: Any, folder: Path, device: torch.device) -> Any:
    transformers.utils.logging.disable_progress_bar()
    dtype = "auto" if has_fast_bfloat16(device) else torch.float32
    try:
        network, info = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, local_files_only=True, output_loading_info=True
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ArtefactError(f"teacher {folder} cannot be opened by transformers: {reason}") from None
    if info["missing_keys"]:  # transformers would initialise them at random
        raise ArtefactError(f"teacher {folder} lacks tensor '{min(info['missing_keys'])}': copy it again")
    return network.requires_grad_(False).eval().to(device)


def _definition(folder: Path) -> object:
    if not (folder / TOKENIZER_FILE).exists():
        raise ArtefactError(f"teacher {folder} has no {TOKENIZER_FILE}: save its tokenizer there")
    return read_json(folder / TOKENIZER_FILE)


def _check_vocabulary(path: Path, definition: object, tokenizer: Tokenizer) -> None:
    """Check that teacher and student assign the same ids to the same tokens.

    Raises: ArtefactError that names the first difference.
    """
    teacher_vocab, student_vocab = _vocabulary(definition), _vocabulary(tokenizer.definition)
    for token_id in sorted(teacher_vocab.keys() | student_vocab.keys()):
        theirs, ours = teacher_vocab.get(token_id), student_vocab.get(token_id)
        if theirs != ours:
            raise ArtefactError(
                f"teacher {path} and the student have different vocabularies: token {token_id} is {theirs!r} for the "
                f"teacher and {ours!r} for the student; use one tokenizer for both, or teach.signal=sequences"
            )


def _vocabulary(definition: object) -> dict[int, str]:
    try:
        vocabulary = tokenizers.Tokenizer.from_buffer(canonical_json(definition)).get_vocab(with_added_tokens=True)
    except ValueError as error:
        raise ArtefactError(f"a teacher's {TOKENIZER_FILE} is not a tokenizer: {error}") from None
    return {token_id: token for token, token_id in vocabulary.items()}
