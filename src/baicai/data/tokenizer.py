"""The tokenizer: byte-level BPE in Hugging Face's format, so that every UTF-8 text survives the round trip."""

import codecs
import heapq
import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from numpy.typing import NDArray

from baicai.artefact import value_hash, write_atomic
from baicai.config import canonical
from baicai.data.byte_level import bytes_of_tokens, split_text
from baicai.data.document import Document, Message
from baicai.errors import ArtefactError, DataError

FILE = "tokenizer.json"
END, SYSTEM, USER, ASSISTANT = SPECIALS = ("<|end|>", "<|system|>", "<|user|>", "<|assistant|>")

MAX_REPEATS = 16

_SAMPLE_PIECE = 2**12
_PIECE = 2**18
_GROUP = 2**20  # characters encoded at once; the library needs about 100 bytes of memory for each token


class Tokenizer:
    """A byte-level BPE with the four special tokens; text never turns into a special token."""

    def __init__(self, definition: Mapping[str, Any]) -> None:
        """Make a tokenizer from the object in a tokenizer.json.

        Raises: DataError if it is no byte-level BPE with the special tokens.
        """
        try:
            self._bpe = tokenizers.Tokenizer.from_buffer(canonical(definition))
        except ValueError as error:
            raise DataError(f"no tokenizer: {error}") from None
        decoder, model = definition.get("decoder"), definition["model"]
        kinds = {part.get("type") for part in (decoder or {}).get("decoders", [decoder or {}])}
        if model.get("type", "BPE") != "BPE" or "ByteLevel" not in kinds:
            raise DataError("not a byte-level BPE: only tokenizers in the style of GPT-2, Qwen and SmolLM can be used")
        missing = [name for name in SPECIALS if self._bpe.token_to_id(name) is None]
        if missing:
            raise DataError(f"lacks the special token {missing[0]}: add {', '.join(SPECIALS)} to its added_tokens")
        self._bpe.encode_special_tokens = True
        self._bpe.no_truncation()
        self._bpe.no_padding()
        self._definition = definition
        self._bytes = bytes_of_tokens(self._bpe)
        self.hash = value_hash(definition)
        self.vocab_size = len(self._bytes)
        self.end_id, self.system_id, self.user_id, self.assistant_id = (self._id(name) for name in SPECIALS)

    @classmethod
    def open(cls, path: Path) -> "Tokenizer":
        """Return the tokenizer in a folder or a tokenizer.json.

        Raises: ArtefactError if it is missing or damaged.
        """
        file = path / FILE if path.is_dir() else path
        try:
            definition = json.loads(file.read_bytes())
        except FileNotFoundError:
            raise ArtefactError(f"tokenizer {file} is missing: train one or copy it again") from None
        except (ValueError, OSError, RecursionError) as error:
            raise ArtefactError(f"tokenizer {file} is damaged ({error}): copy it again") from None
        if not isinstance(definition, dict):
            raise ArtefactError(f"tokenizer {file} is damaged (not a JSON object): copy it again")
        try:
            return cls(definition)
        except DataError as error:
            raise ArtefactError(f"tokenizer {file}: {error}") from None

    def save(self, path: Path) -> None:
        """Write tokenizer.json into the folder `path`, or to `path` itself if that ends in .json.

        Raises: MachineError if the disk is full.
        """
        write_atomic(path if path.suffix == ".json" else path / FILE, canonical(self._definition))

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text, without special tokens."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text, without special tokens."""
        return [ids.tolist() for ids in self._encode(texts)]

    def encode_document(self, document: Document) -> list[int]:
        """Return a text's ids and the end token; of a conversation, each message's role, ids and end."""
        ids: list[int] = self.encode_documents([document])[0].tolist()
        return ids

    def encode_documents(self, documents: Sequence[Document]) -> list[NDArray[np.uint32]]:
        """Return the ids of each document as `encode_document` does, but in one go and in little memory."""
        encoded = iter(self._encode([content for document in documents for content in document.contents]))
        return [self._frame(document, encoded) for document in documents]

    def encode_chat(self, messages: Sequence[Message]) -> list[int]:
        """Return the ids of a conversation up to the place where the assistant's answer starts."""
        ids = self.encode_document(Document("", "", "", "", tuple(messages))) if messages else []
        return [*ids, self.assistant_id]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids: special tokens are left out, bytes that are no UTF-8 become U+FFFD.

        Raises: DataError if an id is outside the vocabulary.
        """
        return b"".join(map(self.bytes_of, ids)).decode("utf-8", "replace")

    def bytes_of(self, token_id: int) -> bytes:
        """Return the bytes that a token stands for, none for a special token.

        Raises: DataError if the id is outside the vocabulary.
        """
        if not 0 <= token_id < self.vocab_size:
            raise DataError(f"token id {token_id} is outside the vocabulary of {self.vocab_size}")
        return self._bytes[token_id]

    def token_bytes(self) -> NDArray[np.int64]:
        """Return how many bytes each token stands for, shape [vocab]; 0 for special tokens."""
        return np.array([len(content) for content in self._bytes], dtype=np.int64)

    def _id(self, name: str) -> int:
        token_id = self._bpe.token_to_id(name)
        assert token_id is not None
        return token_id

    def _frame(self, document: Document, encoded: Iterator[NDArray[np.uint32]]) -> NDArray[np.uint32]:
        end = np.array([self.end_id], dtype=np.uint32)
        if not document.messages:
            return np.concatenate([next(encoded), end])
        roles = {"system": self.system_id, "user": self.user_id, "assistant": self.assistant_id}
        parts = ((np.array([roles[m.role]], dtype=np.uint32), next(encoded), end) for m in document.messages)
        return np.concatenate([part for turn in parts for part in turn])

    def _encode(self, texts: Sequence[str]) -> list[NDArray[np.uint32]]:
        found: list[list[NDArray[np.uint32]]] = [[np.zeros(0, dtype=np.uint32)] for _ in texts]
        for group in _groups((owner, piece) for owner, text in enumerate(texts) for piece in split_text(text, _PIECE)):
            pieces = [piece for _, piece in group]
            try:
                encodings = self._bpe.encode_batch_fast(pieces, add_special_tokens=False)
            except TypeError:  # how the library says that a str is no UTF-8
                raise DataError("a text holds half of a surrogate pair, which is no text: remove it") from None
            for (owner, _), encoding in zip(group, encodings, strict=True):
                found[owner].append(np.array(encoding.ids, dtype=np.uint32))
        return [np.concatenate(parts) for parts in found]


class Decoder:
    """Turns ids into text one by one and holds back bytes until they are whole characters."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, token_id: int) -> str:
        """Return the text that is complete with this token, maybe none.

        Raises: DataError if the id is outside the vocabulary.
        """
        return self._utf8.decode(self._tokenizer.bytes_of(token_id))

    def flush(self) -> str:
        """Return what is held back, bytes that are no UTF-8 as U+FFFD, and start anew."""
        text = self._utf8.decode(b"", final=True)
        self._utf8.reset()
        return text


def train_tokenizer(domains: Mapping[str, Iterable[Document]], vocab_size: int, sample_bytes: int) -> Tokenizer:
    """Return a tokenizer trained on a sample of `sample_bytes` bytes, the same number from each domain.

    Every document is read; the sample is drawn evenly over the whole domain. A domain smaller than its share is
    repeated, up to `MAX_REPEATS` times, so that the large ones do not take all the merges. The result depends on
    the documents and their order only.
    Raises: DataError if a domain is empty or the text yields fewer than `vocab_size` tokens.
    """
    smallest = len(SPECIALS) + 256
    if vocab_size < smallest:
        raise DataError(
            f"vocab_size = {vocab_size} is too small: {smallest} are needed for the bytes and special tokens"
        )
    if not domains:
        raise DataError("no domain to train a tokenizer on: name at least one")
    share = sample_bytes // len(domains)
    samples = [_sample(name, documents, share) for name, documents in domains.items()]
    bpe = tokenizers.Tokenizer(tokenizers.models.BPE())
    digits = tokenizers.pre_tokenizers.Digits(individual_digits=True)
    byte_level = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    bpe.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([digits, byte_level])  # SmolLM's, which llama.cpp knows
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
    """Return pieces of about `share` bytes in all, each with the same chance to be among them."""
    draw = random.Random(0)
    kept: list[tuple[float, int, str]] = []  # a heap: the piece with the highest draw is the first to go
    kept_bytes = 0
    contents = (content for document in documents for content in document.contents)
    for number, piece in enumerate(piece for content in contents for piece in split_text(content, _SAMPLE_PIECE)):
        heapq.heappush(kept, (-draw.random(), number, piece))
        kept_bytes += len(piece.encode())
        while len(kept) > 1 and kept_bytes - len(kept[0][2].encode()) >= share:
            kept_bytes -= len(heapq.heappop(kept)[2].encode())
    if not kept_bytes:
        raise DataError(f"domain '{name}' has no text: give it some or leave it out")
    pieces = [piece for _, _, piece in sorted(kept, key=lambda entry: entry[1])]
    return pieces * min(MAX_REPEATS, max(1, share // kept_bytes))


def _groups(pieces: Iterator[tuple[int, str]]) -> Iterator[list[tuple[int, str]]]:
    group: list[tuple[int, str]] = []
    characters = 0
    for owner, piece in pieces:
        group.append((owner, piece))
        characters += len(piece)
        if characters >= _GROUP:
            yield group
            group, characters = [], 0
    if group:
        yield group
