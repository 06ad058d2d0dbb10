"""Benchmark contamination: the share of a text that consists of n-grams of a benchmark.

Words are compared without case and punctuation. Lines of a benchmark with fewer than `NGRAM_WORDS` words are ignored,
because short phrases occur everywhere. Source: Brown et al., GPT-3, 2020, appendix C, with shorter n-grams.
"""

import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from baicai.artefact import file_hash
from baicai.data.readers import corpus_files, read_documents
from baicai.wholesale.processing.quality_signals import hash_words
from baicai.wholesale.text_kernels import Hashes, ngram_hashes

NGRAM_WORDS = 8
PUNCTUATION = re.compile(r"[^\w\s]+")


class Benchmarks:
    """The n-grams of a set of benchmarks."""

    def __init__(self, texts: Iterable[str]) -> None:
        ngrams = [ngram_hashes(_words(line), NGRAM_WORDS) for text in texts for line in text.splitlines()]
        self._ngrams = np.unique(np.concatenate([np.empty(0, np.uint64), *ngrams]))

    def overlap(self, text: str) -> float:
        """Return the share of the words of a text that belong to an n-gram of a benchmark."""
        words_W = _words(text)
        matches = np.isin(ngram_hashes(words_W, NGRAM_WORDS), self._ngrams)
        covered = np.zeros(len(words_W) + 1, np.int64)
        np.add.at(covered, np.flatnonzero(matches), 1)
        np.add.at(covered, np.flatnonzero(matches) + NGRAM_WORDS, -1)
        return float((np.cumsum(covered)[:-1] > 0).mean()) if len(words_W) else 0.0


@cache
def load_benchmarks(paths: tuple[str, ...]) -> Benchmarks:
    """Read the benchmarks in files and folders, in any format that `baicai.data.readers` supports.

    Raises: DataError if one cannot be read.
    """
    return Benchmarks(text for path in paths for document in read_documents(path) for text in document.contents)


def benchmark_hashes(paths: Sequence[str]) -> list[str]:
    """Return the hash of each file of the benchmarks."""
    return [file_hash(file) for path in paths for file, _ in corpus_files(Path(path))]


def _words(text: str) -> Hashes:
    return hash_words(PUNCTUATION.sub(" ", text))
