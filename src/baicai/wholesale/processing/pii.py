"""Personal data (PII) in a text: always counted, masked on request."""

import ipaddress
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,8}[a-zA-Z]{2,24}(?![\w-])")
PHONE = re.compile(r"(?<![\w./-])(?:\+\d{1,3}[ .-]?|\(?0)(?:\(?\d{1,5}\)?[ ./-]?){2,5}\d{2,4}(?![\w/-])")
ADDRESS = re.compile(r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9a-fA-F]{0,4}(?::[0-9a-fA-F]{0,4}){2,7})(?![\w.:]*\w)")
PHONE_DIGITS = range(8, 16)


def _is_phone(candidate: str) -> bool:
    return sum(character.isdigit() for character in candidate) in PHONE_DIGITS


def _is_public_address(candidate: str) -> bool:
    try:
        return ipaddress.ip_address(candidate).is_global
    except ValueError:
        return False


class PiiType(NamedTuple):
    """The pattern and the mask of one type of personal data."""

    pattern: re.Pattern[str]
    characters: str
    """The pattern can match only in a text with at least one of these characters."""
    is_valid: Callable[[str], bool]
    """Check of a match of the pattern."""
    mask: str


PII_TYPES: Mapping[str, PiiType] = {
    "emails": PiiType(EMAIL, "@", lambda candidate: True, "<email>"),
    "phones": PiiType(PHONE, "0123456789", _is_phone, "<phone>"),
    "addresses": PiiType(ADDRESS, ".:", _is_public_address, "<address>"),
}
COLUMNS = tuple(PII_TYPES)


def count_pii(text: str) -> dict[str, int]:
    """Count the e-mail addresses, telephone numbers and public network addresses in a text."""
    return {
        name: sum(map(pii_type.is_valid, pii_type.pattern.findall(text))) if _may_match(text, pii_type) else 0
        for name, pii_type in PII_TYPES.items()
    }


def mask_pii(text: str) -> str:
    """Replace everything that `count_pii` counts by its type, as in <email>."""
    for pii_type in PII_TYPES.values():
        text = pii_type.pattern.sub(partial(_mask, pii_type), text) if _may_match(text, pii_type) else text
    return text


def _may_match(text: str, pii_type: PiiType) -> bool:
    return any(character in text for character in pii_type.characters)


def _mask(pii_type: PiiType, match: re.Match[str]) -> str:
    return pii_type.mask if pii_type.is_valid(match[0]) else match[0]
