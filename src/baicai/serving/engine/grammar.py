"""Constrained decoding: llguidance decides which tokens may come next."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baicai.data.tokenizer import Tokenizer
from baicai.errors import ConfigError, MachineError


class Grammars:
    """Compiles grammars for one tokenizer."""

    def __init__(self, tokenizer: Tokenizer, vocab_size: int) -> None:
        """Take a tokenizer and the width of the model's logits, which may exceed the number of tokens."""
        self._tokenizer, self._vocab_size = tokenizer, vocab_size
        self._ll_tokenizer: Any = None

    def open(self, grammar: str) -> "GrammarConstraint":
        """Compile a grammar and return a constraint at its start.

        Raises: ConfigError if the grammar is invalid or too large, MachineError if llguidance is not installed.
        """
        try:
            import llguidance
        except ModuleNotFoundError:
            raise MachineError("llguidance is not installed: pip install 'baicai[serve]'") from None
        if self._ll_tokenizer is None:
            wrapped = llguidance.TokenizerWrapper(_TokenizerAdapter(self._tokenizer))
            self._ll_tokenizer = llguidance.LLTokenizer(wrapped, self._vocab_size)
        message = llguidance.LLMatcher.validate_grammar(grammar, self._ll_tokenizer)
        if message:
            raise _grammar_error(message)
        constraint = GrammarConstraint(llguidance.LLMatcher(self._ll_tokenizer, grammar), self._vocab_size)
        # The first mask finds errors that validation misses, and computing it here keeps the delay off the engine.
        constraint.allowed()
        return constraint


class GrammarConstraint:
    """The position of a completion in its grammar."""

    def __init__(self, matcher: Any, vocab_size: int) -> None:
        self._matcher, self._vocab_size = matcher, vocab_size

    def allowed(self) -> NDArray[np.bool_]:
        """Compute the mask of tokens that may come next, [V].

        Raises: ConfigError if the computation exceeds llguidance's limits.
        """
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        if self._matcher.is_error():
            raise _grammar_error(self._matcher.get_error())
        return np.unpackbits(bits, bitorder="little")[: self._vocab_size].astype(np.bool_)

    def accept(self, token: int) -> None:
        """Advance the constraint past a token."""
        self._matcher.consume_token(token)


def _grammar_error(message: str) -> ConfigError:
    return ConfigError(f"the grammar cannot be used: {message.splitlines()[0][:200]}")


class _TokenizerAdapter:
    """Presents a tokenizer through the interface that llguidance expects."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.eos_token_id, self.bos_token_id = tokenizer.stop_ids[0], None
        self.tokens = [tokenizer.id_to_bytes(number) for number in range(tokenizer.vocab_size)]
        self.special_token_ids = [number for number, content in enumerate(self.tokens) if not content]
        self._encode: Callable[[str], list[int]] = tokenizer.encode

    def __call__(self, text: bytes | str) -> list[int]:
        return self._encode(text if isinstance(text, str) else text.decode("utf-8", "replace"))
