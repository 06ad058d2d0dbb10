"""How much of a text is in a benchmark: runs of words that a given file has, too.

Words are compared without case and punctuation. A benchmark's line counts if it has `GRAM_WORDS` words or more: shorter
ones are said by everyone. Source: Brown et al., GPT-3, 2020, appendix C, with shorter runs.
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

GRAM_WORDS = 8
MARKS = re.compile(r"[^\w\s]+")


class Benchmarks:
    """The runs of words of some benchmarks."""

    def __init__(self, texts: Iterable[str]) -> None:
        found = [ngram_hashes(_words(line), GRAM_WORDS) for text in texts for line in text.splitlines()]
        self._known = np.unique(np.concatenate([np.empty(0, np.uint64), *found]))

    def share(self, text: str) -> float:
        """Return the share of a text's words that are in a run which a benchmark has."""
        words_W = _words(text)
        met = np.isin(ngram_hashes(words_W, GRAM_WORDS), self._known)
        covered = np.zeros(len(words_W) + 1, np.int64)
        np.add.at(covered, np.flatnonzero(met), 1)
        np.add.at(covered, np.flatnonzero(met) + GRAM_WORDS, -1)
        return float((np.cumsum(covered)[:-1] > 0).mean()) if len(words_W) else 0.0


@cache
def load_benchmarks(paths: tuple[str, ...]) -> Benchmarks:
    """Return the benchmarks in files and folders that `baicai.data.readers` reads.

    Raises: DataError if one cannot be read.
    """
    return Benchmarks(text for path in paths for document in read_documents(path) for text in document.contents)


def fingerprints(paths: Sequence[str]) -> list[str]:
    """Return hashes of what the benchmarks' files hold."""
    return [file_hash(file) for path in paths for file, _ in corpus_files(Path(path))]


def _words(text: str) -> Hashes:
    return hash_words(MARKS.sub(" ", text))
