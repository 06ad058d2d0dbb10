"""A model opened from Python: generation, chat, perplexity and leaf selection."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from baicai.config import from_table
from baicai.data.document import parse_messages
from baicai.data.tokenizer import Tokenizer
from baicai.errors import DataError
from baicai.evaluation.bits_per_byte import token_nats
from baicai.inference.generate import SamplingConfig
from baicai.leaves.generation import TextChunk, chat_prompt, stream_text, text_prompt
from baicai.leaves.model import SparseModel, open_model

Messages = Sequence[Mapping[str, Any]]
"""A conversation in OpenAI's format: mappings with `role` (system, user or assistant) and `content`."""


class Model:
    """An opened model: a trunk and its leaves, ready to generate text.

    Create it with `baicai.open`. Every method that generates or scores text takes `leaves`, the names of the leaves
    that are on; None means all. Sampling keywords are the keys of `SamplingConfig`: `max_tokens`, `temperature`,
    `top_k`, `top_p`, `seed`, `stop`, `speculate`.

    Example:
        >>> model = baicai.open("out/quickstart/model")
        >>> sorted(model.leaves)
        ['arithmetic', 'household', 'market-zh', 'python-code', 'python-docs']
        >>> model.chat("冬瓜放哪儿了？", leaves=["market-zh"], temperature=0)
        '在冰箱最下面的抽屉里。'
    """

    def __init__(self, model: SparseModel, reference: Path | str, weights: Literal["stored", "int8"]) -> None:
        self._model, self._reference, self._weights = model, reference, weights

    def __repr__(self) -> str:
        return f"Model({str(self._reference)!r}, leaves={self.leaves})"

    @property
    def hash(self) -> str:
        """Identity of the model: a sha256 over its trunk, its leaves and their calibration."""
        return self._model.hash

    @property
    def leaves(self) -> list[str]:
        """Names of the leaves."""
        return list(self._model.leaves)

    @property
    def tokenizer(self) -> Tokenizer:
        """The trunk's tokenizer."""
        return self._model.tokenizer

    def generate(self, prompt: str, *, leaves: Collection[str] | None = None, **sampling: Any) -> str:
        """Continue a text and return the continuation.

        Raises: ConfigError if a leaf or a sampling keyword is unknown, or the prompt does not fit the context.
        """
        return _text(self.stream(prompt, leaves=leaves, **sampling))

    def chat(self, messages: str | Messages, *, leaves: Collection[str] | None = None, **sampling: Any) -> str:
        """Return the assistant's reply to a conversation, or to one question given as a string.

        Raises: ConfigError if a leaf or a sampling keyword is unknown; DataError if a message is malformed.
        """
        conversation = [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
        return _text(self.stream(conversation, leaves=leaves, **sampling))

    def stream(
        self, prompt: str | Messages, *, leaves: Collection[str] | None = None, **sampling: Any
    ) -> Iterator[TextChunk]:
        """Yield the text as it is generated: the continuation of a string, or the reply to a conversation.

        Yields: chunks with `text`, `leaf` (the leaf that contributed most, None for the trunk) and `weights` (each
            leaf's share of the routing weight that it could get).
        Raises: ConfigError if a leaf or a sampling keyword is unknown; DataError if a message is malformed.

        Example:
            >>> for chunk in model.stream("Once upon a time", max_tokens=50):
            ...     print(chunk.text, end="", flush=True)
        """
        config = from_table(SamplingConfig, sampling, "sampling")
        if isinstance(prompt, str):
            tokens = text_prompt(self._model, prompt)
        else:
            tokens = chat_prompt(self._model, parse_messages(list(prompt), "messages"))
        return stream_text(self._model, tokens, config, leaves)

    @torch.inference_mode()
    def perplexity(self, text: str, *, leaves: Collection[str] | None = None) -> float:
        """Return the perplexity of a text: the exponential of the mean loss per token.

        A text longer than the model's context is scored in windows that do not overlap.

        Raises: DataError if the text is empty; ConfigError if a leaf is unknown.
        """
        network = self._model.network
        tokens = torch.tensor(text_prompt(self._model, text))
        if not text:
            raise DataError("the text is empty: perplexity needs at least one token")
        score = token_nats(network, None if leaves is None else network.leaf_mask(leaves))
        length = network.config.max_tokens
        windows = [tokens[start : start + length + 1] for start in range(0, len(tokens) - 1, length)]
        nats = sum(float(score(window[None]).double().sum()) for window in windows)
        return math.exp(nats / (len(tokens) - 1))

    def without(self, *leaves: str) -> "Model":
        """Open the model again without some leaves, given by name or hash; its hash is as if they were never joined.

        Raises: ConfigError if the model has no such leaf.
        """
        model = open_model(self._reference, self._weights, peel=leaves)
        return Model(model, self._reference, self._weights)


def open(reference: str | Path, *, weights: Literal["stored", "int8"] = "stored") -> Model:  # noqa: A001
    """Open a model folder, its lock file or a trunk, by path or hash.

    Args:
        reference: a path, or at least eight digits of the hash of an artefact that this machine has opened before.
        weights: "int8" decodes about twice as fast as bfloat16 on a CPU, at nearly the same quality.

    Raises: ArtefactError if a part is missing, damaged or belongs to another trunk.

    Example:
        >>> baicai.open("out/quickstart/model").generate("The recipe for", max_tokens=20)
    """
    path = Path(reference)
    return Model(open_model(reference, weights), path.resolve() if path.exists() else reference, weights)


def _text(chunks: Iterator[TextChunk]) -> str:
    return "".join(chunk.text for chunk in chunks)
