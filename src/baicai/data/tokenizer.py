"""Byte-level BPE tokenizer in Hugging Face's format: every UTF-8 text survives a round trip."""

import codecs
import heapq
import json
import random
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from numpy.typing import NDArray

from baicai.artefact import read_json, value_hash, write_atomic, write_json
from baicai.config import canonical_json, from_table, to_table
from baicai.data.byte_level import bytes_of_tokens, split_text
from baicai.data.chat_template import DEFAULT_CHAT_FORMAT, SPECIALS, ChatFormat
from baicai.data.document import Document, Message
from baicai.data.sentence_piece import bytes_of_pieces, can_split_words, prefix_scheme, without_prefix
from baicai.errors import ArtefactError, ConfigError, DataError

TOKENIZER_FILE, CHAT_FILE = "tokenizer.json", "chat.json"
MAX_REPEATS = 16
"""Maximum repetitions of a small domain in the training sample."""

_SAMPLE_PIECE = 2**12
_PIECE = 2**18
_GROUP = 2**20  # characters encoded at once; tokenizers needs about 100 bytes of memory per token


class Tokenizer:
    """A BPE tokenizer in the style of GPT-2 or SentencePiece, with its chat format.

    Text never becomes a special token, whatever it contains.

    Example:
        tokenizer = Tokenizer.open(Path("out/tokenizer"))
        ids = tokenizer.encode("Hello")
    """

    def __init__(self, definition: Mapping[str, Any], chat: ChatFormat = DEFAULT_CHAT_FORMAT) -> None:
        """Create a tokenizer from the content of a tokenizer.json and a chat format.

        Raises: DataError if it is not a BPE that covers every byte, or lacks a special token of the chat format.
        """
        self._bpe = _load(definition)
        decoder, model = definition.get("decoder"), definition["model"]
        kinds = {part.get("type") for part in (decoder or {}).get("decoders", [decoder or {}])}
        covers_bytes = "ByteLevel" in kinds or ("ByteFallback" in kinds and model.get("byte_fallback"))
        if model.get("type", "BPE") != "BPE" or not covers_bytes:
            raise DataError(
                "not a byte-level BPE: only tokenizers in the style of GPT-2, Qwen, SmolLM or Llama are supported"
            )
        missing = [name for name in (chat.end, *chat.stop) if self._bpe.token_to_id(name) is None]
        if missing:
            raise DataError(f"lacks the special token {missing[0]}: add {', '.join(chat.stop)} to its added_tokens")
        self.definition, self.chat = definition, chat
        self._prefix: str = "never"
        self._continuation_bpe, self._can_split = self._bpe, True
        if "ByteLevel" in kinds:
            self._bytes = bytes_of_tokens(self._bpe)
        else:
            self._bytes, self._prefix = bytes_of_pieces(self._bpe), prefix_scheme(definition)
            self._continuation_bpe, self._can_split = _load(without_prefix(definition)), can_split_words(self._bpe)
        names = {token.content for token in self._bpe.get_added_tokens_decoder().values()} | {chat.end, *chat.stop}
        self._special = re.compile(f"({'|'.join(map(re.escape, sorted(names, key=len, reverse=True)))})")
        self.hash = value_hash(definition if chat == DEFAULT_CHAT_FORMAT else [definition, to_table(chat)])
        self.vocab_size = len(self._bytes)
        self.end_id = self._id(chat.end)
        self.stop_ids = tuple(self._id(name) for name in chat.stop)
        self.begin_ids = tuple(self._fill([self._items([(chat.begin, True)])])[0].tolist()) if chat.begin else ()

    @classmethod
    def open(cls, path: Path) -> "Tokenizer":
        """Open the tokenizer in a folder or a tokenizer.json.

        Raises: ArtefactError if it is missing or damaged.
        """
        file = path / TOKENIZER_FILE if path.is_dir() else path
        try:
            definition = json.loads(file.read_bytes())
        except FileNotFoundError:
            raise ArtefactError(f"tokenizer {file} is missing: train one or copy it again") from None
        except (ValueError, OSError, RecursionError) as error:
            raise ArtefactError(f"tokenizer {file} is damaged ({error}): copy it again") from None
        if not isinstance(definition, dict):
            raise ArtefactError(f"tokenizer {file} is damaged (not a JSON object): copy it again")
        chat = file.parent / CHAT_FILE
        try:
            return cls(
                definition, from_table(ChatFormat, read_json(chat), str(chat)) if chat.exists() else DEFAULT_CHAT_FORMAT
            )
        except (DataError, ConfigError) as error:
            raise ArtefactError(f"tokenizer {file}: {error}") from None

    def save(self, path: Path) -> None:
        """Write tokenizer.json and, unless the chat format is the default, chat.json into the folder `path`.

        If `path` ends in .json, only tokenizer.json is written, to that path.

        Raises: MachineError if the disk is full.
        """
        alone = path.suffix == ".json"
        write_atomic(path if alone else path / TOKENIZER_FILE, canonical_json(self.definition))
        if self.chat != DEFAULT_CHAT_FORMAT and not alone:
            write_json(path / CHAT_FILE, to_table(self.chat))

    def encode(self, text: str) -> list[int]:
        """Encode a text, without special tokens."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Encode several texts, without special tokens."""
        return [ids.tolist() for ids in self._encode(texts, [True] * len(texts))]

    def encode_document(self, document: Document) -> list[int]:
        """Encode a text with its end token, or a conversation with the markers of each message."""
        ids: list[int] = self.encode_documents([document])[0].tolist()
        return ids

    def encode_documents(self, documents: Sequence[Document]) -> list[NDArray[np.uint32]]:
        """Encode documents as `encode_document` does, in one batch and with little memory."""
        chat, begin = self.chat, np.array(self.begin_ids, dtype=np.uint32)
        filled = self._fill(
            [
                self._items(chat.parts(document.messages, answer=False))
                if document.messages
                else [document.text, self.end_id]
                for document in documents
            ]
        )
        return [
            ids if document.messages else np.concatenate([begin, ids])
            for document, ids in zip(documents, filled, strict=True)
        ]

    def encode_chat(self, messages: Sequence[Message]) -> list[int]:
        """Encode a conversation up to the start of the assistant's answer, or up to its end if it is already begun."""
        prefill = messages[-1:] if messages and messages[-1].role == "assistant" else ()
        items = self._items(self.chat.parts(messages[: len(messages) - len(prefill)], answer=True))
        ids: list[int] = self._fill([[*items, *(message.content for message in prefill)]])[0].tolist()
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Decode token ids, without special tokens; invalid UTF-8 becomes U+FFFD.

        The space that some tokenizers add before every text is removed.

        Raises: DataError if an id is outside the vocabulary.
        """
        text = b"".join(map(self.id_to_bytes, ids)).decode("utf-8", "replace")
        return text if self._prefix == "never" else text.removeprefix(" ")

    def id_to_bytes(self, token_id: int) -> bytes:
        """Return the bytes of a token; empty for a special token.

        Raises: DataError if the id is outside the vocabulary.
        """
        if not 0 <= token_id < self.vocab_size:
            raise DataError(f"token id {token_id} is outside the vocabulary of {self.vocab_size}")
        return self._bytes[token_id]

    def id_to_token(self, token_id: int) -> str:
        """Return the name of a token in tokenizer.json; empty if the id is outside the vocabulary."""
        return self._bpe.id_to_token(token_id) or ""

    def bytes_per_token(self) -> NDArray[np.int64]:
        """Return the number of bytes of each token, [vocab]; 0 for special tokens."""
        return np.array([len(content) for content in self._bytes], dtype=np.int64)

    def _id(self, name: str) -> int:
        token_id = self._bpe.token_to_id(name)
        assert token_id is not None
        return token_id

    def _fill(self, framed: Sequence[Sequence[int | str]]) -> list[NDArray[np.uint32]]:
        """Encode the texts in each list of token ids and texts."""
        texts = [(item, index) for items in framed for index, item in enumerate(items) if isinstance(item, str)]
        first = [index == 0 or self._prefix != "first" for _, index in texts]
        encoded = iter(self._encode([text for text, _ in texts], first))
        return [
            np.concatenate([next(encoded) if isinstance(item, str) else np.array([item], np.uint32) for item in items])
            for items in framed
        ]

    def _items(self, parts: Iterable[tuple[str, bool]]) -> list[int | str]:
        """Turn text and markers into token ids, and merge the texts between them."""
        items: list[int | str] = []
        for part, is_marker in parts:
            for text in self._special.split(part) if is_marker else (part,):
                if is_marker and self._special.fullmatch(text):
                    items.append(self._id(text))
                elif items and isinstance(items[-1], str):
                    items[-1] += text
                elif text:
                    items.append(text)
        return items

    def _encode(self, texts: Sequence[str], first: Sequence[bool]) -> list[NDArray[np.uint32]]:
        """Encode texts; one that is not `first` follows other text."""
        encoded_parts: list[list[NDArray[np.uint32]]] = [[np.zeros(0, dtype=np.uint32)] for _ in texts]
        length = _PIECE if self._can_split else sys.maxsize
        pieces = (
            (owner, piece, number == 0 and first[owner])
            for owner, text in enumerate(texts)
            for number, piece in enumerate(split_text(text, length))
        )
        for group in _groups(pieces):
            for bpe, begins in ((self._bpe, True), (self._continuation_bpe, False)):
                part = [(owner, piece) for owner, piece, is_first in group if is_first == begins]
                try:
                    encodings = bpe.encode_batch_fast([piece for _, piece in part], add_special_tokens=False)
                except TypeError:  # raised by tokenizers if a str is not valid UTF-8
                    raise DataError(
                        "a text contains half of a surrogate pair, which is not valid Unicode: remove it"
                    ) from None
                for (owner, _), encoding in zip(part, encodings, strict=True):
                    encoded_parts[owner].append(np.array(encoding.ids, dtype=np.uint32))
        return [np.concatenate(parts) for parts in encoded_parts]


def _load(definition: Mapping[str, Any]) -> tokenizers.Tokenizer:
    try:
        bpe = tokenizers.Tokenizer.from_buffer(canonical_json(definition))
    except ValueError as error:
        raise DataError(f"not a valid tokenizer: {error}") from None
    bpe.encode_special_tokens = True
    bpe.no_truncation()
    bpe.no_padding()
    return bpe


class Detokenizer:
    """Decodes token ids one at a time, holding back bytes until they form complete characters."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, token_id: int) -> str:
        """Return the text completed by this token; may be empty.

        Raises: DataError if the id is outside the vocabulary.
        """
        return self._utf8.decode(self._tokenizer.id_to_bytes(token_id))

    def flush(self) -> str:
        """Return the text held back, with invalid UTF-8 as U+FFFD, and reset."""
        text = self._utf8.decode(b"", final=True)
        self._utf8.reset()
        return text


def train_tokenizer(domains: Mapping[str, Iterable[Document]], vocab_size: int, sample_bytes: int) -> Tokenizer:
    """Train a tokenizer on a sample of `sample_bytes` bytes, with an equal share from each domain.

    Every document is read; the sample is drawn uniformly from the whole domain. A domain smaller than its share is
    repeated up to `MAX_REPEATS` times, so that large domains do not take all merges. The result depends only on the
    documents and their order.

    Raises: DataError if a domain is empty or the text yields fewer than `vocab_size` tokens.
    """
    smallest = len(SPECIALS) + 256
    if vocab_size < smallest:
        raise DataError(f"vocab_size = {vocab_size} is too small: bytes and special tokens alone need {smallest}")
    if not domains:
        raise DataError("no domains to train a tokenizer on: name at least one")
    share = sample_bytes // len(domains)
    samples = [_sample(name, documents, share) for name, documents in domains.items()]
    bpe = tokenizers.Tokenizer(tokenizers.models.BPE())
    digits = tokenizers.pre_tokenizers.Digits(individual_digits=True)
    byte_level = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    bpe.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [digits, byte_level]
    )  # as SmolLM does, which llama.cpp supports
    bpe.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIALS),
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator((piece for sample in samples for piece in sample), trainer)
    if bpe.get_vocab_size() < vocab_size:
        raise DataError(
            f"the text yields only {bpe.get_vocab_size()} tokens, not vocab_size = {vocab_size}: add text or lower it"
        )
    return Tokenizer(json.loads(bpe.to_str()))


def _sample(name: str, documents: Iterable[Document], share: int) -> list[str]:
    """Return a uniform sample of pieces with about `share` bytes in total."""
    draw = random.Random(0)
    sample: list[tuple[float, int, str]] = []  # a heap that drops the piece with the highest draw first
    sample_bytes = 0
    contents = (content for document in documents for content in document.contents)
    for number, piece in enumerate(piece for content in contents for piece in split_text(content, _SAMPLE_PIECE)):
        heapq.heappush(sample, (-draw.random(), number, piece))
        sample_bytes += len(piece.encode())
        while len(sample) > 1 and sample_bytes - len(sample[0][2].encode()) >= share:
            sample_bytes -= len(heapq.heappop(sample)[2].encode())
    if not sample_bytes:
        raise DataError(f"domain '{name}' has no text: add some or leave the domain out")
    pieces = [piece for _, _, piece in sorted(sample, key=lambda entry: entry[1])]
    return pieces * min(MAX_REPEATS, max(1, share // sample_bytes))


def _groups(pieces: Iterator[tuple[int, str, bool]]) -> Iterator[list[tuple[int, str, bool]]]:
    group: list[tuple[int, str, bool]] = []
    characters = 0
    for entry in pieces:
        group.append(entry)
        characters += len(entry[1])
        if characters >= _GROUP:
            yield group
            group, characters = [], 0
    if group:
        yield group
