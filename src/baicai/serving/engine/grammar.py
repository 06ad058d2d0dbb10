"""Answers that keep to a grammar: which tokens may come next, told by llguidance."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baicai.data.tokenizer import Tokenizer
from baicai.errors import ConfigError, MachineError


class Grammars:
    """What is made once for a tokenizer."""

    def __init__(self, tokenizer: Tokenizer, vocab: int) -> None:
        """Take a tokenizer and the width of the model's logits, which may have places without a token."""
        self._tokenizer, self._vocab = tokenizer, vocab
        self._tokens: Any = None

    def open(self, grammar: str) -> "GrammarConstraint":
        """Return what an answer must keep to, at its beginning.

        Raises: ConfigError if the grammar is none or too large, MachineError if llguidance is not installed.
        """
        try:
            import llguidance
        except ModuleNotFoundError:
            raise MachineError("llguidance is not installed: pip install 'baicai[serve]'") from None
        if self._tokens is None:
            wrapped = llguidance.TokenizerWrapper(_Spelling(self._tokenizer))
            self._tokens = llguidance.LLTokenizer(wrapped, self._vocab)
        problem = llguidance.LLMatcher.validate_grammar(grammar, self._tokens)
        if problem:
            raise ConfigError(f"the grammar of the answer cannot be used: {problem.splitlines()[0][:200]}")
        opened = GrammarConstraint(llguidance.LLMatcher(self._tokens, grammar), self._vocab)
        opened.allowed()  # shows what validation does not, and others need not wait while it is first computed
        return opened


class GrammarConstraint:
    """Where an answer is in its grammar."""

    def __init__(self, matcher: Any, vocab: int) -> None:
        self._matcher, self._vocab = matcher, vocab

    def allowed(self) -> NDArray[np.bool_]:
        """Return which tokens may come next, [V].

        Raises: ConfigError if that takes too long to find out.
        """
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        if self._matcher.is_error():
            told = self._matcher.get_error().splitlines()[0][:200]
            raise ConfigError(f"the grammar of the answer cannot be used: {told}")
        return np.unpackbits(bits, bitorder="little")[: self._vocab].astype(np.bool_)

    def accept(self, token: int) -> None:
        """Note the token that came."""
        self._matcher.consume_token(token)


class _Spelling:
    """How llguidance wants to be told of a tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.eos_token_id, self.bos_token_id = tokenizer.stop_ids[0], None
        self.tokens = [tokenizer.id_to_bytes(number) for number in range(tokenizer.vocab_size)]
        self.special_token_ids = [number for number, content in enumerate(self.tokens) if not content]
        self._encode: Callable[[str], list[int]] = tokenizer.encode

    def __call__(self, text: bytes | str) -> list[int]:
        return self._encode(text if isinstance(text, str) else text.decode("utf-8", "replace"))
