"""Token shards: a folder of raw little-endian token files with a manifest of their content and sources.

    manifest.json       format, dtype, vocabulary, tokenizer hash, counts, sha256 of each file, sources, licences, hash
    tokens-00000.bin    `shard_tokens` tokens; the last file holds the rest

Windows are read with plain file reads, not through a memory map: mapped pages would count as this process's memory, and
a file that shrinks under a map kills the process, whereas a short read can be reported as an error.
"""

import hashlib
import itertools
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baicai.artefact import atomic_folder, file_hash, locked, remove_leftovers, value_hash
from baicai.config import to_table
from baicai.data.document import Document
from baicai.data.manifest import (
    FORMAT,
    PullReceipt,
    ShardManifest,
    damaged,
    read_manifest,
    read_receipt,
    shard_name,
    write_manifest,
)
from baicai.data.readers import fingerprint, read_documents
from baicai.data.tokenizer import Tokenizer
from baicai.errors import ConfigError, DataError
from baicai.run import Progress

SHARD_TOKENS = 2**27
"""Default number of tokens in a token file."""

_BATCH_CHARACTERS, _BATCH_DOCUMENTS = 2**20, 2**12
_MAX_NAMES = 1000  # distinct sources and licences that a manifest counts separately


class TokenShards:
    """Tokens on disk, read by position; memory use does not depend on their number."""

    def __init__(self, folder: Path, manifest: ShardManifest) -> None:
        """Use `TokenShards.open` instead, which checks the files."""
        self.folder = folder
        self.manifest = manifest
        self.hash = manifest.hash
        self.tokenizer_hash = manifest.tokenizer
        self.vocab_size = manifest.vocab_size
        self.num_tokens = manifest.tokens
        self.num_bytes = manifest.bytes
        self._dtype = np.dtype(manifest.dtype)
        self._shard_tokens = manifest.shard_tokens

    @classmethod
    def open(cls, folder: Path, verify: bool = True) -> "TokenShards":
        """Open the shards in a folder. File sizes are always checked, hashes only if `verify`.

        Raises: ArtefactError if a file is missing, truncated or changed.
        """
        manifest = read_manifest(folder)
        itemsize = np.dtype(manifest.dtype).itemsize
        for number, entry in enumerate(manifest.files):
            file = folder / shard_name(number)
            try:
                size = file.stat().st_size
            except OSError as error:
                raise damaged(file, error.strerror or "cannot be read") from None
            if size != entry.tokens * itemsize:
                raise damaged(file, f"{size} bytes, expected {entry.tokens * itemsize}")
            if verify and file_hash(file) != entry.sha256:
                raise damaged(file, "its sha256 does not match the manifest")
        return cls(folder, manifest)

    def read(self, start: int, count: int) -> NDArray[np.int64]:
        """Read tokens `start` to `start + count`, shape [count].

        Raises: ArtefactError if a file has changed since it was opened.
        """
        assert 0 <= start <= start + count <= self.num_tokens, f"{start} + {count} of {self.num_tokens} tokens"
        parts = []
        while count:
            number, offset = divmod(start, self._shard_tokens)
            part = min(count, self._shard_tokens - offset)
            parts.append(self._read_file(self.folder / shard_name(number), offset, part))
            start, count = start + part, count - part
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)

    def num_windows(self, sequence_tokens: int) -> int:
        """Return the number of windows; a remainder of fewer than `sequence_tokens` tokens is left out."""
        return max(0, (self.num_tokens - 1) // sequence_tokens)

    def window(self, index: int, sequence_tokens: int) -> NDArray[np.int64]:
        """Read a window, shape [sequence_tokens + 1].

        Its last token is only a target; it is the first input of the next window.
        """
        return self.read(index * sequence_tokens, sequence_tokens + 1)

    def _read_file(self, file: Path, offset: int, count: int) -> NDArray[np.int64]:
        try:
            raw = np.fromfile(file, dtype=self._dtype, count=count, offset=offset * self._dtype.itemsize)
        except OSError as error:
            raise damaged(file, error.strerror or "cannot be read") from None
        if len(raw) != count:
            raise damaged(file, "it is shorter than when it was opened")
        tokens = raw.astype(np.int64)
        if tokens.max() >= self.vocab_size:
            raise damaged(file, f"it contains token {tokens.max()}, but the vocabulary has {self.vocab_size} tokens")
        return tokens


def write_shards(
    documents: Iterable[Document],
    tokenizer: Tokenizer,
    folder: Path,
    *,
    shard_tokens: int = SHARD_TOKENS,
    max_tokens: int | None = None,
    receipt: PullReceipt | None = None,
) -> TokenShards:
    """Tokenize documents into `folder`, which appears only once it is complete.

    Args:
        shard_tokens: tokens per file.
        max_tokens: number of tokens to keep from the start; None keeps all.
        receipt: identifies the documents of a release; stored in the manifest.

    Raises: DataError if the documents have no text, MachineError if the disk is full, ArtefactError if `folder` exists.
    """
    if max_tokens is not None and max_tokens < 1:
        raise ConfigError(f"max_tokens = {max_tokens} must be at least 1; leave it out to keep all tokens")
    limit = sys.maxsize if max_tokens is None else max_tokens
    sources, licences = Counter[str](), Counter[str]()
    with atomic_folder(folder) as part:
        writer, progress = _Writer(part, tokenizer, shard_tokens), Progress("tokenize", max_tokens)
        with progress:
            for batch in _batches(documents):
                room = limit - writer.num_tokens
                encoded = tokenizer.encode_documents(batch)
                starts = itertools.accumulate(map(len, encoded), initial=0)
                for document in (document for document, start in zip(batch, starts, strict=False) if start < room):
                    _count(sources, document.source)
                    _count(licences, document.licence)
                writer.write(np.concatenate(encoded)[:room])
                progress.update(writer.num_tokens, {"tokens": f"{writer.num_tokens:,}"})
                if writer.num_tokens == limit:
                    break
        if not writer.num_bytes:
            raise DataError("the corpus has no text: check the path and the format of its files")
        manifest = _manifest(tokenizer, writer, sources, licences)
        if receipt is not None:
            manifest["receipt"] = to_table(receipt)
        write_manifest(part, manifest)
    return TokenShards.open(folder, verify=False)


def write_tokens(
    tokens: NDArray[np.integer[Any]], tokenizer: Tokenizer, folder: Path, *, source: str, licence: str
) -> TokenShards:
    """Write tokens, shape [n], as one document.

    Raises: DataError if the array is empty, MachineError if the disk is full, ArtefactError if `folder` exists.
    """
    if not len(tokens):
        raise DataError(f"no tokens from {source} to write")
    assert 0 <= tokens.min() <= tokens.max() < tokenizer.vocab_size, "a token is outside the vocabulary"
    with atomic_folder(folder) as part:
        writer = _Writer(part, tokenizer, SHARD_TOKENS)
        writer.write(tokens)
        write_manifest(part, _manifest(tokenizer, writer, Counter([source]), Counter([licence])))
    return TokenShards.open(folder, verify=False)


def cached_shards(
    source: str, tokenizer: Tokenizer, cache_dir: Path, *, licence: str = "unknown", max_tokens: int | None = None
) -> TokenShards:
    """Return the token shards of a `read_documents` source, tokenized once and cached in `cache_dir`.

    The cache key covers the content of the source, so a changed corpus is tokenized again.

    Raises: DataError if the source cannot be read, has no text or changes while it is read.
    """
    before = fingerprint(source)
    folder = cache_dir / value_hash([FORMAT, before, tokenizer.hash, licence, max_tokens])[:32]
    if not folder.exists():
        with locked(folder):
            if not folder.exists():  # otherwise another process was first
                remove_leftovers(folder)
                documents, receipt = read_documents(source, licence=licence), read_receipt(source)
                write_shards(documents, tokenizer, folder, max_tokens=max_tokens, receipt=receipt)
                if fingerprint(source) != before:
                    shutil.rmtree(folder, ignore_errors=True)
                    raise DataError(f"{source} changed while it was read: run the same command again")
    return TokenShards.open(folder)


class _Writer:
    """Writes token files one after another and counts tokens and bytes."""

    def __init__(self, folder: Path, tokenizer: Tokenizer, shard_tokens: int) -> None:
        self.dtype = np.dtype("<u2" if tokenizer.vocab_size <= 2**16 else "<u4")
        self.shard_tokens = shard_tokens
        self.num_tokens = 0
        self.num_bytes = 0
        self.files: list[tuple[int, Any]] = []  # tokens and running sha256
        self._folder = folder
        self._token_bytes = tokenizer.bytes_per_token()

    def write(self, tokens: NDArray[np.integer[Any]]) -> None:
        self.num_tokens += len(tokens)
        self.num_bytes += int(self._token_bytes[tokens].sum())
        while len(tokens):
            if not self.files or self.files[-1][0] == self.shard_tokens:
                self.files.append((0, hashlib.sha256()))
            filled, digest = self.files[-1]
            part, tokens = np.split(tokens, [self.shard_tokens - filled])
            raw = part.astype(self.dtype).tobytes()
            with (self._folder / shard_name(len(self.files) - 1)).open("ab") as file:
                file.write(raw)
            digest.update(raw)
            self.files[-1] = (filled + len(part), digest)


def _batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    batch: list[Document] = []
    characters = 0
    for document in documents:
        batch.append(document)
        characters += sum(map(len, document.contents))
        if characters >= _BATCH_CHARACTERS or len(batch) >= _BATCH_DOCUMENTS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _count(counter: Counter[str], name: str) -> None:
    counter[name if name in counter or len(counter) < _MAX_NAMES else "(others)"] += 1


def _manifest(tokenizer: Tokenizer, writer: _Writer, sources: Counter[str], licences: Counter[str]) -> dict[str, Any]:
    return {
        "dtype": writer.dtype.str,
        "vocab_size": tokenizer.vocab_size,
        "tokenizer": tokenizer.hash,
        "shard_tokens": writer.shard_tokens,
        "documents": licences.total(),
        "tokens": writer.num_tokens,
        "bytes": writer.num_bytes,
        "files": [{"tokens": tokens, "sha256": digest.hexdigest()} for tokens, digest in writer.files],
        "sources": dict(sorted(sources.items())),
        "licences": dict(sorted(licences.items())),
    }
