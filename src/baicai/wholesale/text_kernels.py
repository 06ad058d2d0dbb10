"""Numba kernels for words, lines and repetitions of a text: one pass over its characters, then one for each rule.

Shape suffixes: C characters, W words, L lines or paragraphs, S slots of a hash table (a power of two), N stop words.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

SPACE, ALPHA, SOLO, TERMINAL, BULLET, ELLIPSIS, HASH = (1 << bit for bit in range(7))
"""Character classes. A SOLO character is a word of its own, as in scripts written without spaces."""

Codes = NDArray[np.uint32]
Classes = NDArray[np.uint8]
Hashes = NDArray[np.uint64]
Ints = NDArray[np.int64]


def code_points(text: str) -> Codes:
    """Return the code points of a text."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
SHIFT = np.uint64(29)


def jit(function: Any) -> Any:
    """Compile a function with numba. It releases the GIL, and the machine code is cached for later processes."""
    return njit(function, nogil=True, cache=True, error_model="numpy", boundscheck=False)


@jit
def mix_hash(digest: np.uint64, value: np.uint64) -> np.uint64:
    """Extend a running hash by a value."""
    digest = (digest ^ value) * MULTIPLIER
    return digest ^ (digest >> SHIFT)


@jit
def lowercase(code: np.uint32) -> np.uint64:
    """Lowercase an ASCII letter; any other character is returned unchanged."""
    return np.uint64(code + 32 if 65 <= code <= 90 else code)


@jit
def class_of(code: np.uint32, classes: Classes) -> np.uint8:
    """Return the class bits of a character. Characters beyond the table are ideographs."""
    return classes[code] if code < len(classes) else np.uint8(SOLO | ALPHA)


@jit
def find_words(text_C: Codes, classes: Classes, hashes_W: Hashes, spans_W2: Ints, totals: Ints) -> int:
    """Fill in the hash and span of each word and return the number of words.

    `totals` receives the number of characters in words, words with a letter, number signs, ellipses and sentence ends.
    """
    count, at, end = 0, 0, len(text_C)
    totals[:] = 0
    while at < end:
        bits = class_of(text_C[at], classes)
        if bits & SPACE:
            at += 1
            continue
        start, digest, alpha = at, np.uint64(0), False
        while True:
            code = text_C[at]
            digest = mix_hash(digest, lowercase(code))
            alpha |= bool(bits & ALPHA)
            if bits & HASH:
                totals[2] += 1
            if bits & ELLIPSIS:
                totals[3] += 1
            elif code == 46 and at + 2 < end and text_C[at + 1] == 46 and text_C[at + 2] == 46:
                totals[3] += at == 0 or text_C[at - 1] != 46
            solo, terminal = bits & SOLO, bits & TERMINAL
            at += 1
            bits = class_of(text_C[at], classes) if at < end else np.uint8(SPACE)
            if terminal and not bits & TERMINAL and (bits & SPACE or code > 127):
                totals[4] += 1
            if solo or bits & (SPACE | SOLO):
                break
        hashes_W[count], spans_W2[count, 0], spans_W2[count, 1] = digest, start, at
        count += 1
        totals[0] += at - start
        totals[1] += alpha
    return count


@jit
def hash_words(text_C: Codes, classes: Classes) -> Hashes:
    """Return the hash of each word."""
    max_words = max(1, len(text_C))
    hashes_W = np.empty(max_words, np.uint64)
    words = find_words(text_C, classes, hashes_W, np.empty((max_words, 2), np.int64), np.zeros(5, np.int64))
    return hashes_W[:words]


@jit
def find_lines(text_C: Codes, classes: Classes, hashes_L: Hashes, spans_L2: Ints, blank_lines: int) -> int:
    """Fill in the hash and span of each non-empty line, stripped of space, and return the number of lines.

    With `blank_lines` 1, find paragraphs instead, which are separated by blank lines.
    """
    count, at, end = 0, 0, len(text_C)
    while at < end:
        while at < end and class_of(text_C[at], classes) & SPACE:
            at += 1
        if at == end:
            break
        start, last, breaks, digest = at, at, 0, np.uint64(0)
        while at < end and breaks <= blank_lines:
            code = text_C[at]
            if code == 10:
                breaks += 1
            elif not class_of(code, classes) & SPACE:
                for position in range(last + 1 if at > start else at, at + 1):
                    digest = mix_hash(digest, np.uint64(text_C[position]))
                last, breaks = at, 0
            at += 1
        hashes_L[count], spans_L2[count, 0], spans_L2[count, 1] = digest, start, last + 1
        count += 1
    return count


@jit
def find_slot(key: np.uint64, keys_S: Hashes, used_S: Ints, stamp: int) -> int:
    """Return the slot that holds a hash, or the free slot where it belongs. Slots with another stamp are free."""
    mask = len(keys_S) - 1
    at = int(key >> np.uint64(20)) & mask
    while used_S[at] == stamp and keys_S[at] != key:
        at = (at + 1) & mask
    return at


@jit
def count_duplicates(hashes_L: Hashes, spans_L2: Ints, keys_S: Hashes, used_S: Ints, stamp: int) -> tuple[int, int]:
    """Return the number of lines that repeat an earlier line, and their characters."""
    lines, characters = 0, 0
    for line in range(len(hashes_L)):
        at = find_slot(hashes_L[line], keys_S, used_S, stamp)
        if used_S[at] == stamp:
            lines += 1
            characters += spans_L2[line, 1] - spans_L2[line, 0]
        keys_S[at], used_S[at] = hashes_L[line], stamp
    return lines, characters


@jit
def hash_ngram(hashes_W: Hashes, first: int, n: int) -> np.uint64:
    """Return the hash of the n words from `first` on."""
    digest = np.uint64(n)
    for word in range(first, first + n):
        digest = mix_hash(digest, hashes_W[word])
    return digest


@jit
def ngram_hashes(hashes_W: Hashes, n: int) -> Hashes:
    """Return the hash of every n-gram, or an empty array if there are fewer than n words."""
    out = np.empty(max(0, len(hashes_W) - n + 1), np.uint64)
    for first in range(len(out)):
        out[first] = hash_ngram(hashes_W, first, n)
    return out


@jit
def top_ngram_characters(
    hashes_W: Hashes, spans_W2: Ints, n: int, keys_S: Hashes, used_S: Ints, counts_S: Ints, stamp: int
) -> int:
    """Return the characters that the most frequent n-gram covers, including the spaces between its words.

    Ties are won by the longest n-gram. Returns 0 if no n-gram occurs twice.
    """
    highest, characters = 1, 0
    for first in range(len(hashes_W) - n + 1):
        key = hash_ngram(hashes_W, first, n)
        at = find_slot(key, keys_S, used_S, stamp)
        counts_S[at] = counts_S[at] + 1 if used_S[at] == stamp else 1
        keys_S[at], used_S[at] = key, stamp
        if counts_S[at] > 1 and counts_S[at] >= highest:
            covered = counts_S[at] * (spans_W2[first + n - 1, 1] - spans_W2[first, 0])
            characters = max(characters, covered) if counts_S[at] == highest else covered
            highest = counts_S[at]
    return characters


@jit
def duplicate_ngram_characters(
    hashes_W: Hashes, spans_W2: Ints, n: int, keys_S: Hashes, used_S: Ints, stamp: int
) -> int:
    """Return the characters covered by n-grams that repeat earlier ones, each character counted once."""
    characters, free = 0, 0
    for first in range(len(hashes_W) - n + 1):
        key = hash_ngram(hashes_W, first, n)
        at = find_slot(key, keys_S, used_S, stamp)
        if used_S[at] == stamp:
            start, stop = max(spans_W2[first, 0], free), spans_W2[first + n - 1, 1]
            characters += max(0, stop - start)
            free = max(free, stop)
        keys_S[at], used_S[at] = key, stamp
    return characters


@jit
def hash_word(text_C: Codes) -> np.uint64:
    """Return the hash of a word."""
    digest = np.uint64(0)
    for code in text_C:
        digest = mix_hash(digest, lowercase(code))
    return digest


@jit
def ends_in_ellipsis(text_C: Codes, start: int, stop: int, classes: Classes) -> bool:
    """Return whether a span ends in an ellipsis character or three full stops."""
    if class_of(text_C[stop - 1], classes) & ELLIPSIS:
        return True
    return stop - start >= 3 and text_C[stop - 1] == 46 and text_C[stop - 2] == 46 and text_C[stop - 3] == 46


@jit
def signals(text_C: Codes, classes: Classes, stop_words_N: Hashes, short: int, out: NDArray[np.float64]) -> Hashes:
    """Fill in the signals of `quality_signals.KERNEL_COLUMNS`, in their order, and return the hashes of the words.

    Args:
        text_C: code points of the text.
        classes: class bits of each character.
        stop_words_N: hashes of the stop words.
        short: number of characters up to which a line is short.
        out: array that receives the signals.
    """
    max_words = max(1, len(text_C))
    hashes_W, spans_W2 = np.empty(max_words, np.uint64), np.empty((max_words, 2), np.int64)
    totals = np.zeros(5, np.int64)
    words = find_words(text_C, classes, hashes_W, spans_W2, totals)
    hashes_W, spans_W2 = hashes_W[:words], spans_W2[:words]
    slots = 16
    while slots < 2 * words:
        slots *= 2
    keys_S, used_S, counts_S = np.empty(slots, np.uint64), np.zeros(slots, np.int64), np.empty(slots, np.int64)
    hashes_L, spans_L2 = np.empty(words + 1, np.uint64), np.empty((words + 1, 2), np.int64)
    stamp, column, by_words, by_characters = 0, 14, max(1, words), max(1, len(text_C))
    for blank_lines in range(2):
        lines = find_lines(text_C, classes, hashes_L, spans_L2, blank_lines)
        stamp += 1
        duplicates, characters = count_duplicates(hashes_L[:lines], spans_L2[:lines], keys_S, used_S, stamp)
        out[column], out[column + 1] = duplicates / max(1, lines), characters / by_characters
        column += 2
        if blank_lines == 0:
            bullets, ellipses, terminals, shorts = 0, 0, 0, 0
            for line in range(lines):
                start, stop = spans_L2[line, 0], spans_L2[line, 1]
                bullets += (class_of(text_C[start], classes) & BULLET) != 0
                ellipses += ends_in_ellipsis(text_C, start, stop, classes)
                terminals += (class_of(text_C[stop - 1], classes) & TERMINAL) != 0
                shorts += stop - start <= short
            by_lines = max(1, lines)
            out[2], out[3], out[4] = lines, bullets / by_lines, ellipses / by_lines
            out[5], out[6] = terminals / by_lines, shorts / by_lines
            out[13] = max(0, lines - 1) / by_words
    stop_words = 0
    for word in stop_words_N:
        for digest in hashes_W:
            if digest == word:
                stop_words += 1
                break
    out[0], out[1] = len(text_C), words
    out[7], out[8], out[9] = totals[0] / by_words, totals[1] / by_words, stop_words
    out[10], out[11], out[12] = totals[2] / by_words, totals[3] / by_words, totals[4]
    for n in range(2, 11):
        stamp += 1
        if n < 5:
            covered = top_ngram_characters(hashes_W, spans_W2, n, keys_S, used_S, counts_S, stamp)
        else:
            covered = duplicate_ngram_characters(hashes_W, spans_W2, n, keys_S, used_S, stamp)
        out[column] = min(1.0, covered / by_characters)
        column += 1
    return hashes_W
