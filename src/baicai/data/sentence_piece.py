"""SentencePiece-style BPE: words begin with '▁', and bytes without a token are written as `<0x0A>`."""

import re
from collections.abc import Mapping
from typing import Any, Literal

import tokenizers

SPACE = "▁"
_BYTE = re.compile("<0x([0-9A-F]{2})>")
_INNER_SPACE = re.compile(rf"[^{SPACE}]{SPACE}|[^\W_]\n")


def bytes_of_pieces(bpe: tokenizers.Tokenizer) -> list[bytes]:
    """Return the bytes of each token by id; special tokens and ids without a token have none."""
    vocab, added = bpe.get_vocab(), bpe.get_added_tokens_decoder()
    table = [b""] * (max(vocab.values()) + 1)
    for name, token_id in vocab.items():
        byte, token = _BYTE.fullmatch(name), added.get(token_id)
        if byte:
            table[token_id] = bytes.fromhex(byte[1])
        elif token is None or not token.special:
            table[token_id] = name.replace(SPACE, " ").encode()
    return table


def can_split_words(bpe: tokenizers.Tokenizer) -> bool:
    """Return whether no token spans the end of a word, so that a text may be split there."""
    return not any(_INNER_SPACE.search(name) for name in bpe.get_vocab())


def prefix_scheme(definition: Mapping[str, Any]) -> Literal["never", "first", "always"]:
    """Return when the tokenizer adds a space before a text: never, before the first, or also after special tokens."""
    splitter = definition.get("pre_tokenizer") or {}
    if any(step.get("type") == "Prepend" for step in _steps(definition)):
        return "always"
    if splitter.get("type") == "Metaspace":
        scheme: Literal["never", "first", "always"] = splitter.get("prepend_scheme", "always")
        return scheme
    return "never"


def without_prefix(definition: Mapping[str, Any]) -> dict[str, Any]:
    """Return the definition without the added space, for text that follows other text."""
    steps = [step for step in _steps(definition) if step.get("type") != "Prepend"]
    changed = {**definition, "normalizer": {"type": "Sequence", "normalizers": steps} if steps else None}
    if (definition.get("pre_tokenizer") or {}).get("type") == "Metaspace":
        changed["pre_tokenizer"] = {**definition["pre_tokenizer"], "prepend_scheme": "never"}
    return changed


def _steps(definition: Mapping[str, Any]) -> list[dict[str, Any]]:
    normalizer = definition.get("normalizer")
    steps: list[dict[str, Any]] = normalizer.get("normalizers", [normalizer]) if normalizer else []
    return steps
