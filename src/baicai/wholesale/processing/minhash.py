"""Near-duplicates: MinHashes, and an index on disk that compares new documents with all earlier ones.

Source: Broder, 1997; banding: Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, section 3.4.
Shape suffixes: W words, N documents, P permutations, B bands.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rensa
from numpy.typing import NDArray

from baicai.artefact import atomic_folder, read_json
from baicai.wholesale.text_kernels import Hashes, ngram_hashes

MinHashes = NDArray[np.uint32]
NGRAM_WORDS = 3
PERMUTATIONS, BANDS = 128, 32
"""32 bands of 4 permutations each. Two documents that share 0.57 of their 3-grams, as after an edit of one word in ten,
agree in at least one band with a probability of 97 %."""
SIMILARITY_THRESHOLD = 0.4
"""Estimated Jaccard similarity from which two documents are near-duplicates."""
MAX_MATCHES_PER_BAND = 8
"""Earlier documents compared with a new document in each band of a segment."""
BLOCK = 2**14
"""Documents, or pairs of them, compared at once. It bounds the memory, however many documents match."""
SEED = 0x8A1CA1


def minhash(words: Sequence[Hashes]) -> MinHashes:
    """Return the MinHashes [N, P] of documents, given as the hashes of their words."""
    if not words:
        return np.empty((0, PERMUTATIONS), np.uint32)
    shingles = [ngram_hashes(hashes_W, min(NGRAM_WORDS, max(1, len(hashes_W)))) for hashes_W in words]
    ends = np.cumsum([0, *map(len, shingles)]).astype(np.uint64)
    matrix = rensa.RMinHash.digest_matrix_from_flat_token_hashes(np.concatenate(shingles), ends, PERMUTATIONS, SEED)
    return np.array(matrix.to_rows(), np.uint32)


def band_keys(minhashes_NP: MinHashes) -> Hashes:
    """Return the keys [B, N] of documents in each band; documents with an equal key are candidates."""
    rows = np.ascontiguousarray(minhashes_NP).reshape(len(minhashes_NP), BANDS, PERMUTATIONS // BANDS).astype(np.uint64)
    keys_NB = np.zeros(rows.shape[:2], np.uint64)
    for permutation in range(rows.shape[2]):
        keys_NB = (keys_NB ^ rows[:, :, permutation]) * np.uint64(0x9E3779B97F4A7C15)
        keys_NB ^= keys_NB >> np.uint64(31)
    return np.ascontiguousarray(keys_NB.T)


def estimate_jaccard(left_NP: MinHashes, right_NP: MinHashes) -> NDArray[np.float64]:
    """Estimate the Jaccard similarity of the n-grams of document pairs by the share of equal MinHash values."""
    similarities_N: NDArray[np.float64] = (left_NP == right_NP).mean(1)
    return similarities_N


def _are_duplicates(left_NP: MinHashes, right_NP: MinHashes, pairs: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return whether each pair (index on the left, index on the right) is a pair of near-duplicates."""
    duplicates = [np.empty(0, np.bool_)]
    for begin in range(0, len(pairs), BLOCK):
        left, right = pairs[begin : begin + BLOCK].T
        duplicates.append(estimate_jaccard(left_NP[left], right_NP[right]) >= SIMILARITY_THRESHOLD)
    return np.concatenate(duplicates)


class DuplicateIndex:
    """An index on disk with one segment for each batch of documents. Adding a batch again changes nothing.

    Documents are numbered in the order in which they are added. The group of a document is the number of the first
    document in its cluster of near-duplicates.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._segments = [_Segment(path) for path in sorted(folder.glob("segment-*"))] if folder.exists() else []

    def __len__(self) -> int:
        """Return the number of documents in the index."""
        return sum(len(segment) for segment in self._segments)

    def add(self, name: str, minhashes_NP: MinHashes) -> NDArray[np.int64]:
        """Add a batch of documents and return their groups.

        A batch whose name is in the index already is not added again; the groups assigned then are returned.
        """
        for segment in self._segments:
            if segment.name == name:
                return segment.groups_N
        first, keys_BN = len(self), band_keys(minhashes_NP)
        groups_N = np.arange(first, first + len(minhashes_NP))
        for index, group in self._earlier_duplicates(minhashes_NP, keys_BN):
            groups_N[index] = group
        _merge_within(minhashes_NP, keys_BN, groups_N)
        with atomic_folder(self._folder / f"segment-{len(self._segments):06}") as part:
            _write_segment(part, name, first, minhashes_NP, keys_BN, groups_N)
        self._segments.append(_Segment(self._folder / f"segment-{len(self._segments):06}"))
        return groups_N

    def groups(self, name: str) -> NDArray[np.int64]:
        """Return the groups of the documents of a batch."""
        return next(segment.groups_N for segment in self._segments if segment.name == name)

    def find(self, minhashes_NP: MinHashes) -> list[list[int]]:
        """Return, for each document, the numbers of all its near-duplicates in the index."""
        numbers: list[list[int]] = [[] for _ in minhashes_NP]
        keys_BN = band_keys(minhashes_NP)
        for segment in self._segments:
            pairs = segment.candidates(keys_BN)
            for index, match in pairs[_are_duplicates(minhashes_NP, segment.minhashes_NP, pairs)]:
                numbers[index].append(segment.first + int(match))
        return numbers

    def _earlier_duplicates(self, minhashes_NP: MinHashes, keys_BN: Hashes) -> Iterator[tuple[int, int]]:
        """Yield the index and group of documents that duplicate an earlier one, the earliest match last."""
        for segment in reversed(self._segments):
            segment_NP, groups_N = segment.minhashes_NP, segment.groups_N
            for begin in range(0, len(minhashes_NP), BLOCK):
                block = slice(begin, begin + BLOCK)
                pairs = segment.candidates(keys_BN[:, block], MAX_MATCHES_PER_BAND)
                duplicates = _are_duplicates(minhashes_NP[block], segment_NP, pairs)
                for index, match in pairs[duplicates][::-1]:
                    yield begin + int(index), int(groups_N[match])


class _Segment:
    """A batch on disk. Its arrays are memory-mapped while in use, so an open index takes no memory."""

    def __init__(self, folder: Path) -> None:
        metadata = read_json(folder / "segment.json")
        self.name, self.first = str(metadata["name"]), int(metadata["first"])
        self._folder = folder
        self._count = len(self.groups_N)

    def __len__(self) -> int:
        return self._count

    @property
    def minhashes_NP(self) -> MinHashes:
        return _load(self._folder / "signatures.npy")

    @property
    def groups_N(self) -> NDArray[np.int64]:
        return _load(self._folder / "groups.npy")

    def candidates(self, keys_BN: Hashes, limit: int | None = None) -> NDArray[np.int64]:
        """Return the unique pairs (index of a given document, index in the segment) with an equal key, sorted.

        With `limit`, only that many matches per band are returned; matches in the thousands are all alike.
        """
        pairs = [np.empty((0, 2), np.int64)]
        segment_BN, order_BN = _load(self._folder / "keys.npy"), _load(self._folder / "order.npy")
        for query_N, keys_N, order_N in zip(keys_BN, segment_BN, order_BN, strict=True):
            query_order = np.argsort(query_N)  # looking up sorted keys is ten times as fast, as neighbours share pages
            query_N, starts = query_N[query_order], np.searchsorted(keys_N, query_N[query_order], "left")
            inside = np.flatnonzero(starts < len(keys_N))
            matches = inside[keys_N[starts[inside]] == query_N[inside]]
            counts = np.searchsorted(keys_N, query_N[matches], "right") - starts[matches]
            counts = counts if limit is None else np.minimum(counts, limit)
            offsets = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
            positions = order_N[np.repeat(starts[matches], counts) + offsets]
            pairs.append(np.stack([np.repeat(query_order[matches], counts), positions.astype(np.int64)], 1))
        return np.unique(np.concatenate(pairs), axis=0)


def _load(path: Path) -> NDArray[Any]:
    array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


def _write_segment(
    folder: Path, name: str, first: int, minhashes_NP: MinHashes, keys_BN: Hashes, groups_N: NDArray[np.int64]
) -> None:
    order_BN = np.argsort(keys_BN, axis=1, kind="stable")
    np.save(folder / "signatures.npy", minhashes_NP)
    np.save(folder / "groups.npy", groups_N)
    np.save(folder / "keys.npy", np.take_along_axis(keys_BN, order_BN, 1))
    np.save(folder / "order.npy", order_BN.astype(np.uint32))
    (folder / "segment.json").write_text(json.dumps({"name": name, "first": first}))


def _merge_within(minhashes_NP: MinHashes, keys_BN: Hashes, groups_N: NDArray[np.int64]) -> None:
    """Merge the groups of near-duplicates within a batch; the smallest group of a cluster wins."""
    pairs = [np.empty((0, 2), np.int64)]
    for keys_N in keys_BN:
        order_N = np.argsort(keys_N, kind="stable")
        sorted_N = keys_N[order_N]
        begins_N = np.concatenate(([True], sorted_N[1:] != sorted_N[:-1]))[: len(keys_N)]
        heads_N = order_N[np.maximum.accumulate(np.where(begins_N, np.arange(len(keys_N)), 0))]
        pairs.append(np.stack([heads_N[~begins_N], order_N[~begins_N]], 1))
    matches = np.unique(np.concatenate(pairs), axis=0)
    duplicates = _are_duplicates(minhashes_NP, minhashes_NP, matches)
    parent = list(range(len(groups_N)))

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = number = parent[parent[number]]
        return number

    for left, right in matches[duplicates].tolist():
        low, high = sorted((root(left), root(right)))
        parent[high] = low
    roots = np.array([root(number) for number in range(len(groups_N))], np.int64)
    smallest = np.full(len(groups_N), np.iinfo(np.int64).max)
    np.minimum.at(smallest, roots, groups_N)
    groups_N[:] = smallest[roots]
