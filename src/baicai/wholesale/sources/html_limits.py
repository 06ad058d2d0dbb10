"""Limits on nesting and attributes in HTML, checked before parsing: some pages are built to keep parsers busy."""

import numpy as np

from baicai.wholesale.text_kernels import Codes, Hashes, code_points, hash_word, jit

MAX_DEPTH, MAX_ATTRIBUTES = 1000, 1000
"""Parsing time grows with the square of either number."""
NOT_NESTED = (
    "p", "li", "dt", "dd", "option", "optgroup", "tr", "td", "th", "thead", "tbody", "tfoot", "rp", "rt", "area", "br",
    "col", "embed", "base", "hr", "img", "input", "link", "meta", "source", "track", "wbr", "html", "head", "body",
)  # fmt: skip
"""Elements without an end tag, and elements that cannot be nested directly in one of their own kind."""


def exceeds_html_limits(page: str) -> bool:
    """Return whether elements are nested too deeply or one has too many attributes."""
    depth, attributes = max_depth_and_attributes(code_points(page), _NOT_NESTED)
    return bool(depth > MAX_DEPTH or attributes > MAX_ATTRIBUTES)


@jit
def max_depth_and_attributes(page: Codes, not_nested: Hashes) -> tuple[int, int]:
    """Return an upper bound on the number of nested elements and on the number of attributes of an element."""
    depth, max_depth, max_attributes, at, end = 0, 0, 0, 0, len(page)
    while at + 1 < end:
        if page[at] != 60:  # <
            at += 1
            continue
        at += 1
        closing = page[at] == 47  # /
        start = at + closing
        at = start
        while at < end and (97 <= page[at] | 32 <= 122 or 48 <= page[at] <= 57):
            at += 1
        if at == start:
            continue
        name, nests = hash_word(page[start:at]), True
        for other in not_nested:
            nests &= name != other
        if nests:
            depth = max(0, depth - 1) if closing else depth + 1
            max_depth = max(max_depth, depth)
        attributes, space = 0, False
        while at < end and page[at] != 62:  # >
            blank = page[at] <= 32 or page[at] == 47 or page[at] == 34 or page[at] == 39
            attributes += space and not blank
            space = blank
            at += 1
        max_attributes = max(max_attributes, attributes)
    return max_depth, max_attributes


_NOT_NESTED = np.array([hash_word(code_points(name)) for name in NOT_NESTED], np.uint64)
