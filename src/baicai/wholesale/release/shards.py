"""Shards of a release: frames of JSON lines, each compressed alone, and an index that says where each lies.

A frame is known by the sha256 of its lines, whatever compressed them: who has a frame makes that which is left of it
after a removal, and need not fetch it.
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
"""Of lines, about: small enough that a narrow slice fetches little beside it, large enough to compress."""
MAX_FRAME_BYTES = 65 * 2**20
"""A frame of one document, the largest that there is."""
SHARD_BYTES = 32 * 2**20
MAX_INDEX_BYTES = 64 * 2**20
LEVEL = 9
SUFFIX = ".jsonl.zst"


class DocumentLine(NamedTuple):
    """A document."""

    id: str
    version: str
    """Hash of what it says, hex."""
    quality: float
    content: bytes
    """JSON, with its line's end."""


class Frame(NamedTuple):
    """Where a frame lies in its shard, and what is in it."""

    hash: str
    """sha256 of its lines."""
    start: int
    size_bytes: int
    """Compressed, as it lies in the shard."""
    lines_bytes: int
    documents: int
    min_quality: float
    max_quality: float
    root: str
    """The frame that this is what is left of; itself if nothing was taken out."""
    removed: tuple[str, ...]
    """Ids of the documents that the root has and this has not."""


class WrittenShard(NamedTuple):
    """What a shard's files are named after, and how large they are."""

    file: str
    size_bytes: int
    index_file: str
    index_bytes: int
    documents: int
    min_quality: float
    max_quality: float
    held: tuple[tuple[str, str, int], ...]
    """Id, version and number of the frame of each document."""


class PackedFrame(NamedTuple):
    """A frame as it lies in a shard, and id and version of each of its documents."""

    frame: Frame
    block: bytes
    held: list[tuple[str, str]]


def group_into_frames(lines: Iterable[DocumentLine]) -> Iterator[list[DocumentLine]]:
    """Yield documents in frames of about `FRAME_BYTES`."""
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
    """Compress the documents of a frame; with `root`, they are what is left of that frame without those removed."""
    content = b"".join(line.content for line in lines)
    block = zstandard.ZstdCompressor(level=LEVEL).compress(content)
    qualities = [line.quality for line in lines]
    digest = hashlib.sha256(content).hexdigest()
    numbers = (0, len(block), len(content), len(lines), min(qualities), max(qualities))
    frame = Frame(digest, *numbers, root or digest, tuple(removed))
    return PackedFrame(frame, block, [(line.id, line.version) for line in lines])


def write_release_shards(folder: Path, parts: Iterable[PackedFrame]) -> Iterator[WrittenShard]:
    """Write frames into shards of at most about `SHARD_BYTES` and yield each when it is whole."""
    frames: list[Frame] = []
    blocks: list[bytes] = []
    held: list[tuple[str, str, int]] = []
    size = 0
    for frame, block, documents in parts:
        if frames and size + len(block) > SHARD_BYTES:
            yield _write_shard(folder, frames, blocks, held)
            frames, blocks, held, size = [], [], [], 0
        held += [(one, version, len(frames)) for one, version in documents]
        frames.append(frame._replace(start=size))
        blocks.append(block)
        size += len(block)
    if frames:
        yield _write_shard(folder, frames, blocks, held)


def _write_shard(
    folder: Path, frames: list[Frame], blocks: list[bytes], held: list[tuple[str, str, int]]
) -> WrittenShard:
    content = b"".join(blocks)
    index = zstandard.ZstdCompressor(level=LEVEL).compress(canonical_json([list(frame) for frame in frames]))
    names = [hashlib.sha256(one).hexdigest() for one in (content, index)]
    write_atomic(folder / f"{names[0]}{SUFFIX}", content)
    write_atomic(folder / names[1], index)
    documents = sum(frame.documents for frame in frames)
    low, high = min(frame.min_quality for frame in frames), max(frame.max_quality for frame in frames)
    return WrittenShard(names[0], len(content), names[1], len(index), documents, low, high, tuple(held))


def read_index(content: bytes, expected: str, where: str) -> list[Frame]:
    """Return the frames that an index names.

    Raises: ArtefactError if it is not the index that was expected.
    """
    if hashlib.sha256(content).hexdigest() != expected:
        raise ArtefactError(f"{where} does not match its hash: get it from its publisher again")
    try:
        rows = json.loads(decompress(content, MAX_INDEX_BYTES, where))
        return [Frame._make([*row[:8], tuple(row[8])]) for row in rows]
    except (ValueError, TypeError, IndexError, RecursionError):
        raise ArtefactError(f"{where} is no index: get it from its publisher again") from None


def read_frame(block: bytes, frame: Frame, where: str) -> list[bytes]:
    """Return the lines of a frame.

    Raises: ArtefactError if they are not those that its hash names.
    """
    lines = decompress(block, min(frame.lines_bytes, MAX_FRAME_BYTES), where)
    if hashlib.sha256(lines).hexdigest() != frame.hash:
        raise ArtefactError(f"{where} does not match its hash: get it from its publisher again")
    return lines.splitlines(keepends=True)


def decompress(content: bytes, most: int, where: str) -> bytes:
    """Return what a zstd frame of a stranger holds.

    Raises: ArtefactError if it is damaged or holds more than `most` bytes.
    """
    try:
        with zstandard.ZstdDecompressor().stream_reader(content) as stream:
            found = stream.read(most + 1)
    except zstandard.ZstdError as error:
        raise ArtefactError(f"{where} is damaged ({error}): get it from its publisher again") from None
    if len(found) > most:
        raise ArtefactError(f"{where} is larger than it says: get it from its publisher again")
    return bytes(found)


def encode_line(document: Mapping[str, Any]) -> DocumentLine:
    """Return a document as a line of JSON."""
    content = json.dumps(document, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode() + b"\n"
    return DocumentLine(document["id"], document["version"], document["quality"], content)


def decode_line(content: bytes, where: str) -> DocumentLine:
    """Return the document in a line of JSON.

    Raises: ArtefactError if it is none.
    """
    try:
        document = json.loads(content)
        return DocumentLine(str(document["id"]), str(document["version"]), float(document["quality"]), content)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ArtefactError(f"{where} holds a line that is no document: get it from its publisher again") from None
