"""Byte-level BPE: the bytes of its tokens, and where a long text can be split without changing a token."""

import functools
import re
from collections.abc import Iterator

import tokenizers

from baicai.errors import DataError

_WORD_END = re.compile(r"(?<=\S)(?= )|(?<=[^\W_])(?=\n)")


def split_text(text: str, characters: int) -> Iterator[str]:
    """Split a text into pieces of at least `characters`, only where the pre-tokenizer does, so that ids do not change.

    A word ends before a space, and letters and digits end before a line break, whatever follows.
    """
    start = 0
    while len(text) - start > characters:
        cut = _WORD_END.search(text, start + characters)
        if cut is None:
            break
        yield text[start : cut.start()]
        start = cut.start()
    if start < len(text):
        yield text[start:]


@functools.cache
def _byte_of_character() -> dict[str, int]:
    """Return GPT-2's alphabet: printable Latin-1 characters map to themselves, other bytes to 256 and up."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    unprintable = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(unprintable)}


def bytes_of_tokens(bpe: tokenizers.Tokenizer) -> list[bytes]:
    """Return the bytes of each token by id; special tokens and ids without a token have none.

    Raises: DataError if a token is not written in the byte-level alphabet.
    """
    vocab, added, byte_of = bpe.get_vocab(), bpe.get_added_tokens_decoder(), _byte_of_character()
    table = [b""] * (max(vocab.values()) + 1)
    for name, token_id in vocab.items():
        token = added.get(token_id)
        if token is not None:
            table[token_id] = b"" if token.special else name.encode()
        elif not all(character in byte_of for character in name):
            raise DataError(f"token {name!r} is not written in the byte-level alphabet")
        else:
            table[token_id] = bytes(byte_of[character] for character in name)
    return table
