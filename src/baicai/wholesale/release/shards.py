"""Shards of a release: frames of JSON lines, each compressed on its own, and an index of the frames.

A frame is identified by the sha256 of its uncompressed lines. A subscriber that has a frame can therefore derive the
frame that remains after a removal, without fetching it.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import zstandard

from baicai.artefact import write_atomic
from baicai.config import canonical_json
from baicai.errors import ArtefactError

FRAME_BYTES = 2**18
"""Approximate uncompressed size: small enough for narrow slices to fetch little else, large enough to compress."""
MAX_FRAME_BYTES = 65 * 2**20
"""Maximum uncompressed size: a frame with a single document of the largest size."""
SHARD_BYTES = 32 * 2**20
MAX_INDEX_BYTES = 64 * 2**20
LEVEL = 9
SUFFIX = ".jsonl.zst"


class DocumentLine(NamedTuple):
    """A document as a line of JSON."""

    id: str
    version: str
    """Hash of its content, hex."""
    quality: float
    content: bytes
    """JSON, newline included."""


class Frame(NamedTuple):
    """Position and contents of a frame in its shard. Stored in the index as a list, in this order."""

    hash: str
    """sha256 of the uncompressed lines."""
    start: int
    """Byte offset in the shard."""
    size_bytes: int
    """Compressed size."""
    lines_bytes: int
    """Uncompressed size."""
    documents: int
    min_quality: float
    max_quality: float
    root: str
    """Hash of the original frame; its own hash if nothing was removed."""
    removed: tuple[str, ...]
    """Ids of the documents that were removed since the root."""


class WrittenShard(NamedTuple):
    """Names and sizes of the files of a shard, and its documents."""

    file: str
    size_bytes: int
    index_file: str
    index_bytes: int
    documents: int
    min_quality: float
    max_quality: float
    contents: tuple[tuple[str, str, int], ...]
    """Id, version and frame number of each document."""


class PackedFrame(NamedTuple):
    """A compressed frame, and the id and version of each of its documents."""

    frame: Frame
    block: bytes
    documents: list[tuple[str, str]]


def group_into_frames(lines: Iterable[DocumentLine]) -> Iterator[list[DocumentLine]]:
    """Group documents into frames of about `FRAME_BYTES`."""
    frame: list[DocumentLine] = []
    size = 0
    for line in lines:
        if frame and size + len(line.content) > FRAME_BYTES:
            yield frame
            frame, size = [], 0
        frame.append(line)
        size += len(line.content)
    if frame:
        yield frame


def pack_frame(lines: Sequence[DocumentLine], root: str = "", removed: Sequence[str] = ()) -> PackedFrame:
    """Compress the documents of a frame.

    Args:
        lines: documents of the frame, at least one.
        root: hash of the original frame if these documents are the rest of it.
        removed: ids of the documents removed from the root.
    """
    content = b"".join(line.content for line in lines)
    block = zstandard.ZstdCompressor(level=LEVEL).compress(content)
    qualities = [line.quality for line in lines]
    digest = hashlib.sha256(content).hexdigest()
    numbers = (0, len(block), len(content), len(lines), min(qualities), max(qualities))
    frame = Frame(digest, *numbers, root or digest, tuple(removed))
    return PackedFrame(frame, block, [(line.id, line.version) for line in lines])


def write_release_shards(folder: Path, packed: Iterable[PackedFrame]) -> Iterator[WrittenShard]:
    """Write frames into shards of about `SHARD_BYTES` at most, and yield each shard when it is complete."""
    frames: list[Frame] = []
    blocks: list[bytes] = []
    contents: list[tuple[str, str, int]] = []
    size = 0
    for frame, block, documents in packed:
        if frames and size + len(block) > SHARD_BYTES:
            yield _write_shard(folder, frames, blocks, contents)
            frames, blocks, contents, size = [], [], [], 0
        contents += [(document, version, len(frames)) for document, version in documents]
        frames.append(frame._replace(start=size))
        blocks.append(block)
        size += len(block)
    if frames:
        yield _write_shard(folder, frames, blocks, contents)


def _write_shard(
    folder: Path, frames: list[Frame], blocks: list[bytes], contents: list[tuple[str, str, int]]
) -> WrittenShard:
    content = b"".join(blocks)
    index = zstandard.ZstdCompressor(level=LEVEL).compress(canonical_json([list(frame) for frame in frames]))
    names = [hashlib.sha256(data).hexdigest() for data in (content, index)]
    write_atomic(folder / f"{names[0]}{SUFFIX}", content)
    write_atomic(folder / names[1], index)
    documents = sum(frame.documents for frame in frames)
    low, high = min(frame.min_quality for frame in frames), max(frame.max_quality for frame in frames)
    return WrittenShard(names[0], len(content), names[1], len(index), documents, low, high, tuple(contents))


def read_index(content: bytes, expected: str, where: str) -> list[Frame]:
    """Read the frames of an index.

    Raises: ArtefactError if its hash is not `expected` or it is not an index.
    """
    if hashlib.sha256(content).hexdigest() != expected:
        raise ArtefactError(f"{where} does not match its hash: download it again")
    try:
        rows = json.loads(decompress(content, MAX_INDEX_BYTES, where))
        return [Frame._make([*row[:8], tuple(row[8])]) for row in rows]
    except (ValueError, TypeError, IndexError, RecursionError):
        raise ArtefactError(f"{where} is not an index: download it again") from None


def read_frame(block: bytes, frame: Frame, where: str) -> list[bytes]:
    """Decompress the lines of a frame.

    Raises: ArtefactError if they do not match the frame's hash.
    """
    lines = decompress(block, min(frame.lines_bytes, MAX_FRAME_BYTES), where)
    if hashlib.sha256(lines).hexdigest() != frame.hash:
        raise ArtefactError(f"{where} does not match its hash: download it again")
    return lines.splitlines(keepends=True)


def decompress(content: bytes, max_bytes: int, where: str) -> bytes:
    """Decompress untrusted zstd data.

    Raises: ArtefactError if it is damaged or decompresses to more than `max_bytes`.
    """
    try:
        with zstandard.ZstdDecompressor().stream_reader(content) as stream:
            data = stream.read(max_bytes + 1)
    except zstandard.ZstdError as error:
        raise ArtefactError(f"{where} is damaged ({error}): download it again") from None
    if len(data) > max_bytes:
        raise ArtefactError(f"{where} is larger than its index states: download it again")
    return bytes(data)


def encode_line(document: Mapping[str, Any]) -> DocumentLine:
    """Encode a document as a line of JSON."""
    content = json.dumps(document, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode() + b"\n"
    return DocumentLine(document["id"], document["version"], document["quality"], content)


def decode_line(content: bytes, where: str) -> DocumentLine:
    """Decode a document from a line of JSON.

    Raises: ArtefactError if it is not a document.
    """
    try:
        document = json.loads(content)
        return DocumentLine(str(document["id"]), str(document["version"]), float(document["quality"]), content)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ArtefactError(f"{where} has an invalid document: download it again") from None
