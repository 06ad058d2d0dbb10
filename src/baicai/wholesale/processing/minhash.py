"""Near-duplicates: MinHash signatures, and an index on disk that compares new documents with all earlier ones.

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
GRAM_WORDS = 3
PERMUTATIONS, BANDS = 128, 32
"""Bands of four: of documents that share 0.57 of their runs of three words, as after an edit of one word in ten, 97 %
meet in one."""
ALIKE = 0.4
"""Documents are near-duplicates whose signatures agree in at least this share of places."""
MOST_IN_BAND = 8
BLOCK = 2**14
"""Documents, or pairs of them, that are compared at once: bounds the memory, whatever meets whatever."""
SEED = 0x8A1CA1


def minhash(words: Sequence[Hashes]) -> MinHashes:
    """Return the signatures [N, P] of documents, given as the hashes of their words."""
    if not words:
        return np.empty((0, PERMUTATIONS), np.uint32)
    shingles = [ngram_hashes(hashes_W, min(GRAM_WORDS, max(1, len(hashes_W)))) for hashes_W in words]
    ends = np.cumsum([0, *map(len, shingles)]).astype(np.uint64)
    matrix = rensa.RMinHash.digest_matrix_from_flat_token_hashes(np.concatenate(shingles), ends, PERMUTATIONS, SEED)
    return np.array(matrix.to_rows(), np.uint32)


def band_keys(signatures_NP: MinHashes) -> Hashes:
    """Return the keys [B, N] under which documents meet."""
    rows = (
        np.ascontiguousarray(signatures_NP).reshape(len(signatures_NP), BANDS, PERMUTATIONS // BANDS).astype(np.uint64)
    )
    keys_NB = np.zeros(rows.shape[:2], np.uint64)
    for place in range(rows.shape[2]):
        keys_NB = (keys_NB ^ rows[:, :, place]) * np.uint64(0x9E3779B97F4A7C15)
        keys_NB ^= keys_NB >> np.uint64(31)
    return np.ascontiguousarray(keys_NB.T)


def estimate_jaccard(left_NP: MinHashes, right_NP: MinHashes) -> NDArray[np.float64]:
    """Return the share of places in which signatures agree, an estimate of the share of runs of words in common."""
    found: NDArray[np.float64] = (left_NP == right_NP).mean(1)
    return found


def _are_alike(left_NP: MinHashes, right_NP: MinHashes, pairs: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which pairs, a document of each side, are near-duplicates."""
    alike = [np.empty(0, np.bool_)]
    for begin in range(0, len(pairs), BLOCK):
        left, right = pairs[begin : begin + BLOCK].T
        alike.append(estimate_jaccard(left_NP[left], right_NP[right]) >= ALIKE)
    return np.concatenate(alike)


class DuplicateIndex:
    """A folder of segments, one for each batch of documents; adding a batch again changes nothing.

    Documents are numbered in the order in which they came. A document's group is the number of the first document that
    it, or a document like it, is like.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._segments = [_Segment(path) for path in sorted(folder.glob("segment-*"))] if folder.exists() else []

    def __len__(self) -> int:
        """Return how many documents are known."""
        return sum(len(segment) for segment in self._segments)

    def add(self, name: str, signatures_NP: MinHashes) -> NDArray[np.int64]:
        """Add a batch and return the group of each of its documents.

        A batch of a name that is known already is not added again: its groups are those it got then.
        """
        for segment in self._segments:
            if segment.name == name:
                return segment.groups_N
        first, keys_BN = len(self), band_keys(signatures_NP)
        groups_N = np.arange(first, first + len(signatures_NP))
        for number, earlier in self._alike(signatures_NP, keys_BN):
            groups_N[number] = earlier
        _join_within(signatures_NP, keys_BN, groups_N)
        with atomic_folder(self._folder / f"segment-{len(self._segments):06}") as part:
            _write_segment(part, name, first, signatures_NP, keys_BN, groups_N)
        self._segments.append(_Segment(self._folder / f"segment-{len(self._segments):06}"))
        return groups_N

    def groups(self, name: str) -> NDArray[np.int64]:
        """Return the groups of a batch's documents."""
        return next(segment.groups_N for segment in self._segments if segment.name == name)

    def find(self, signatures_NP: MinHashes) -> list[list[int]]:
        """Return, for each document, the numbers of all known ones that are near-duplicates of it."""
        found: list[list[int]] = [[] for _ in signatures_NP]
        keys_BN = band_keys(signatures_NP)
        for segment in self._segments:
            pairs = segment.meet(keys_BN)
            for number, place in pairs[_are_alike(signatures_NP, segment.signatures_NP, pairs)]:
                found[number].append(segment.first + int(place))
        return found

    def _alike(self, signatures_NP: MinHashes, keys_BN: Hashes) -> Iterator[tuple[int, int]]:
        """Yield document and group of the documents that are like an earlier one, the earliest last."""
        for segment in reversed(self._segments):
            known_NP, groups_N = segment.signatures_NP, segment.groups_N
            for begin in range(0, len(signatures_NP), BLOCK):
                block = slice(begin, begin + BLOCK)
                pairs = segment.meet(keys_BN[:, block], MOST_IN_BAND)
                alike = _are_alike(signatures_NP[block], known_NP, pairs)
                for number, place in pairs[alike][::-1]:
                    yield begin + int(number), int(groups_N[place])


class _Segment:
    """A batch on disk, mapped into memory while it is looked at: what is known costs none."""

    def __init__(self, folder: Path) -> None:
        about = read_json(folder / "segment.json")
        self.name, self.first = str(about["name"]), int(about["first"])
        self._folder = folder
        self._count = len(self.groups_N)

    def __len__(self) -> int:
        return self._count

    @property
    def signatures_NP(self) -> MinHashes:
        return _load(self._folder / "signatures.npy")

    @property
    def groups_N(self) -> NDArray[np.int64]:
        return _load(self._folder / "groups.npy")

    def meet(self, keys_BN: Hashes, most: int | None = None) -> NDArray[np.int64]:
        """Return, sorted and each once, the pairs of a document given by its keys and one of the segment that it meets.

        With `most`, no more than the first so many in a band: those that are there in thousands are all alike.
        """
        pairs = [np.empty((0, 2), np.int64)]
        known_BN, order_BN = _load(self._folder / "keys.npy"), _load(self._folder / "order.npy")
        for given_N, keys_N, order_N in zip(keys_BN, known_BN, order_BN, strict=True):
            turns = np.argsort(given_N)  # looking up sorted keys is ten times as fast: they are side by side
            given_N, starts = given_N[turns], np.searchsorted(keys_N, given_N[turns], "left")
            inside = np.flatnonzero(starts < len(keys_N))
            met = inside[keys_N[starts[inside]] == given_N[inside]]
            counts = np.searchsorted(keys_N, given_N[met], "right") - starts[met]
            counts = counts if most is None else np.minimum(counts, most)
            offsets = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
            places = order_N[np.repeat(starts[met], counts) + offsets]
            pairs.append(np.stack([np.repeat(turns[met], counts), places.astype(np.int64)], 1))
        return np.unique(np.concatenate(pairs), axis=0)


def _load(path: Path) -> NDArray[Any]:
    array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


def _write_segment(
    folder: Path, name: str, first: int, signatures_NP: MinHashes, keys_BN: Hashes, groups_N: NDArray[np.int64]
) -> None:
    order_BN = np.argsort(keys_BN, axis=1, kind="stable")
    np.save(folder / "signatures.npy", signatures_NP)
    np.save(folder / "groups.npy", groups_N)
    np.save(folder / "keys.npy", np.take_along_axis(keys_BN, order_BN, 1))
    np.save(folder / "order.npy", order_BN.astype(np.uint32))
    (folder / "segment.json").write_text(json.dumps({"name": name, "first": first}))


def _join_within(signatures_NP: MinHashes, keys_BN: Hashes, groups_N: NDArray[np.int64]) -> None:
    """Give documents of one batch that are alike one group: the smallest that one of them has."""
    pairs = [np.empty((0, 2), np.int64)]
    for keys_N in keys_BN:
        order_N = np.argsort(keys_N, kind="stable")
        sorted_N = keys_N[order_N]
        begins_N = np.concatenate(([True], sorted_N[1:] != sorted_N[:-1]))[: len(keys_N)]
        heads_N = order_N[np.maximum.accumulate(np.where(begins_N, np.arange(len(keys_N)), 0))]
        pairs.append(np.stack([heads_N[~begins_N], order_N[~begins_N]], 1))
    met = np.unique(np.concatenate(pairs), axis=0)
    alike = _are_alike(signatures_NP, signatures_NP, met)
    parent = list(range(len(groups_N)))

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = number = parent[parent[number]]
        return number

    for left, right in met[alike].tolist():
        low, high = sorted((root(left), root(right)))
        parent[high] = low
    roots = np.array([root(number) for number in range(len(groups_N))], np.int64)
    smallest = np.full(len(groups_N), np.iinfo(np.int64).max)
    np.minimum.at(smallest, roots, groups_N)
    groups_N[:] = smallest[roots]
