"""Words, lines and what is repeated in a text, compiled by numba: one pass over its characters, one for each rule.

Shape suffixes: C characters, W words, L lines or paragraphs, S slots of a hash table, a power of two.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

SPACE, ALPHA, SOLO, TERMINAL, BULLET, ELLIPSIS, HASH = (1 << bit for bit in range(7))
"""What a character is; SOLO: a word of its own, as in scripts that are written without spaces."""

Codes = NDArray[np.uint32]
Classes = NDArray[np.uint8]
Hashes = NDArray[np.uint64]
Ints = NDArray[np.int64]


def code_points(text: str) -> Codes:
    """Return the characters of a text as numbers."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
TURN = np.uint64(29)


def jit(function: Any) -> Any:
    """Compile without the interpreter's lock; what was compiled is kept for the next process."""
    return njit(function, nogil=True, cache=True, error_model="numpy", boundscheck=False)


@jit
def mix(digest: np.uint64, value: np.uint64) -> np.uint64:
    """Return a hash of what `digest` stands for, followed by a value."""
    digest = (digest ^ value) * MULTIPLIER
    return digest ^ (digest >> TURN)


@jit
def lower(code: np.uint32) -> np.uint64:
    """Return a character without case, where that is one bit: Latin letters without accents."""
    return np.uint64(code + 32 if 65 <= code <= 90 else code)


@jit
def class_of(code: np.uint32, classes: Classes) -> np.uint8:
    """Return what a character is."""
    return classes[code] if code < len(classes) else np.uint8(SOLO | ALPHA)


@jit
def find_words(text_C: Codes, classes: Classes, hashes_W: Hashes, spans_W2: Ints, found: Ints) -> int:
    """Fill in each word's hash and span and return how many there are.

    `found` gets: characters of all words, words with a letter, number signs, ellipses, sentences' ends.
    """
    count, at, end = 0, 0, len(text_C)
    found[:] = 0
    while at < end:
        kind = class_of(text_C[at], classes)
        if kind & SPACE:
            at += 1
            continue
        start, digest, alpha = at, np.uint64(0), False
        while True:
            code = text_C[at]
            digest = mix(digest, lower(code))
            alpha |= bool(kind & ALPHA)
            if kind & HASH:
                found[2] += 1
            if kind & ELLIPSIS:
                found[3] += 1
            elif code == 46 and at + 2 < end and text_C[at + 1] == 46 and text_C[at + 2] == 46:
                found[3] += at == 0 or text_C[at - 1] != 46
            solo, terminal = kind & SOLO, kind & TERMINAL
            at += 1
            kind = class_of(text_C[at], classes) if at < end else np.uint8(SPACE)
            if terminal and not kind & TERMINAL and (kind & SPACE or code > 127):
                found[4] += 1
            if solo or kind & (SPACE | SOLO):
                break
        hashes_W[count], spans_W2[count, 0], spans_W2[count, 1] = digest, start, at
        count += 1
        found[0] += at - start
        found[1] += alpha
    return count


@jit
def hash_words(text_C: Codes, classes: Classes) -> Hashes:
    """Return the hash of each word."""
    room = max(1, len(text_C))
    hashes_W = np.empty(room, np.uint64)
    words = find_words(text_C, classes, hashes_W, np.empty((room, 2), np.int64), np.zeros(5, np.int64))
    return hashes_W[:words]


@jit
def find_lines(text_C: Codes, classes: Classes, hashes_L: Hashes, spans_L2: Ints, blank_lines: int) -> int:
    """Fill in hash and span, without space at its ends, of each line that is not empty; return how many there are.

    With `blank_lines` 1 they are paragraphs: what stands between blank lines.
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
                for place in range(last + 1 if at > start else at, at + 1):
                    digest = mix(digest, np.uint64(text_C[place]))
                last, breaks = at, 0
            at += 1
        hashes_L[count], spans_L2[count, 0], spans_L2[count, 1] = digest, start, last + 1
        count += 1
    return count


@jit
def slot_of(key: np.uint64, keys_S: Hashes, used_S: Ints, stamp: int) -> int:
    """Return where a hash is in the table, or where it belongs: slots with another stamp are free."""
    mask = len(keys_S) - 1
    at = int(key >> np.uint64(20)) & mask
    while used_S[at] == stamp and keys_S[at] != key:
        at = (at + 1) & mask
    return at


@jit
def repeated(hashes_L: Hashes, spans_L2: Ints, keys_S: Hashes, used_S: Ints, stamp: int) -> tuple[int, int]:
    """Return how many lines were there before in the text, and their characters."""
    lines, characters = 0, 0
    for line in range(len(hashes_L)):
        at = slot_of(hashes_L[line], keys_S, used_S, stamp)
        if used_S[at] == stamp:
            lines += 1
            characters += spans_L2[line, 1] - spans_L2[line, 0]
        keys_S[at], used_S[at] = hashes_L[line], stamp
    return lines, characters


@jit
def gram_of(hashes_W: Hashes, first: int, n: int) -> np.uint64:
    """Return the hash of n words."""
    digest = np.uint64(n)
    for word in range(first, first + n):
        digest = mix(digest, hashes_W[word])
    return digest


@jit
def ngram_hashes(hashes_W: Hashes, n: int) -> Hashes:
    """Return the hash of each run of n words; of none, if there are fewer."""
    out = np.empty(max(0, len(hashes_W) - n + 1), np.uint64)
    for first in range(len(out)):
        out[first] = gram_of(hashes_W, first, n)
    return out


@jit
def most_repeated(
    hashes_W: Hashes, spans_W2: Ints, n: int, keys_S: Hashes, used_S: Ints, counts_S: Ints, stamp: int
) -> int:
    """Return the characters, spaces between words included, that the most frequent run of n words takes.

    Of those equally frequent the longest counts; 0 if none is there twice.
    """
    most, characters = 1, 0
    for first in range(len(hashes_W) - n + 1):
        key = gram_of(hashes_W, first, n)
        at = slot_of(key, keys_S, used_S, stamp)
        counts_S[at] = counts_S[at] + 1 if used_S[at] == stamp else 1
        keys_S[at], used_S[at] = key, stamp
        if counts_S[at] > 1 and counts_S[at] >= most:
            taken = counts_S[at] * (spans_W2[first + n - 1, 1] - spans_W2[first, 0])
            characters = max(characters, taken) if counts_S[at] == most else taken
            most = counts_S[at]
    return characters


@jit
def all_repeated(hashes_W: Hashes, spans_W2: Ints, n: int, keys_S: Hashes, used_S: Ints, stamp: int) -> int:
    """Return the characters in runs of n words that were there before; none counts twice."""
    characters, free = 0, 0
    for first in range(len(hashes_W) - n + 1):
        key = gram_of(hashes_W, first, n)
        at = slot_of(key, keys_S, used_S, stamp)
        if used_S[at] == stamp:
            start, stop = max(spans_W2[first, 0], free), spans_W2[first + n - 1, 1]
            characters += max(0, stop - start)
            free = max(free, stop)
        keys_S[at], used_S[at] = key, stamp
    return characters


@jit
def hash_word(text_C: Codes) -> np.uint64:
    """Return the hash that a word of these characters has."""
    digest = np.uint64(0)
    for code in text_C:
        digest = mix(digest, lower(code))
    return digest


@jit
def ends_in_ellipsis(text_C: Codes, start: int, stop: int, classes: Classes) -> bool:
    """Return whether a span ends in an ellipsis or three full stops."""
    if class_of(text_C[stop - 1], classes) & ELLIPSIS:
        return True
    return stop - start >= 3 and text_C[stop - 1] == 46 and text_C[stop - 2] == 46 and text_C[stop - 3] == 46


@jit
def count(text_C: Codes, classes: Classes, stops_N: Hashes, short: int, out: NDArray[np.float64]) -> Hashes:
    """Fill in the numbers of `statistics.COUNTED`, in their order, and return the words' hashes.

    `stops_N` are those of stop words.
    """
    room = max(1, len(text_C))
    hashes_W, spans_W2, found = np.empty(room, np.uint64), np.empty((room, 2), np.int64), np.zeros(5, np.int64)
    words = find_words(text_C, classes, hashes_W, spans_W2, found)
    hashes_W, spans_W2 = hashes_W[:words], spans_W2[:words]
    slots = 16
    while slots < 2 * words:
        slots *= 2
    keys_S, used_S, counts_S = np.empty(slots, np.uint64), np.zeros(slots, np.int64), np.empty(slots, np.int64)
    hashes_L, spans_L2 = np.empty(words + 1, np.uint64), np.empty((words + 1, 2), np.int64)
    stamp, at, by_words, by_characters = 0, 14, max(1, words), max(1, len(text_C))
    for blank_lines in range(2):
        lines = find_lines(text_C, classes, hashes_L, spans_L2, blank_lines)
        stamp += 1
        twice, characters = repeated(hashes_L[:lines], spans_L2[:lines], keys_S, used_S, stamp)
        out[at], out[at + 1] = twice / max(1, lines), characters / by_characters
        at += 2
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
    for word in stops_N:
        for digest in hashes_W:
            if digest == word:
                stop_words += 1
                break
    out[0], out[1] = len(text_C), words
    out[7], out[8], out[9] = found[0] / by_words, found[1] / by_words, stop_words
    out[10], out[11], out[12] = found[2] / by_words, found[3] / by_words, found[4]
    for n in range(2, 11):
        stamp += 1
        if n < 5:
            taken = most_repeated(hashes_W, spans_W2, n, keys_S, used_S, counts_S, stamp)
        else:
            taken = all_repeated(hashes_W, spans_W2, n, keys_S, used_S, stamp)
        out[at] = min(1.0, taken / by_characters)
        at += 1
    return hashes_W
