"""What a licence allows, in one word."""

from typing import Literal

LicenceClass = Literal["open", "restricted", "unknown"]
OPEN = (
    "0BSD", "AFL-", "AGPL-", "APACHE-2.0", "ARTISTIC-2.0", "BLUEOAK-", "BSD-", "BSL-1.0", "CC-BY-", "CC-PDDC",
    "CC0-1.0", "CDDL-", "CURL", "ECL-", "EPL-", "EUPL-", "FREEBSD-DOC", "FSFAP", "GFDL-", "GPL-", "HPND", "ISC",
    "LICENSEREF-OFFICIAL-WORKS", "LICENSEREF-PUBLIC-DOMAIN", "LGPL-", "MIT", "MIT-0", "MPL-", "NCSA",
    "ODBL-", "ODC-BY-", "OFL-", "OGL-UK-", "PDDL-1.0", "POSTGRESQL", "PSF-2.0", "PUBLIC-DOMAIN", "PYTHON-2.0", "RUBY",
    "UNICODE-", "UNLICENSE", "VIM", "W3C", "WTFPL", "X11", "ZLIB", "ZPL-",
)  # fmt: skip
"""Beginnings of SPDX ids that allow use, change and passing on for any purpose, perhaps on conditions."""
RESTRICTED = ("CC-BY-NC", "CC-BY-ND", "PROPRIETARY", "ALL-RIGHTS-RESERVED", "BUSL-", "SSPL-")
RANK: dict[LicenceClass, int] = {"open": 0, "unknown": 1, "restricted": 2}
"""Of captures of one text, that with the smallest is kept."""


def licence_class(licence: str) -> LicenceClass:
    """Return whether an SPDX id is of an open licence, of one that restricts, or of none that is known."""
    name = licence.strip().upper().replace(" ", "-")
    if name.startswith(RESTRICTED):
        return "restricted"
    if name in OPEN or name.startswith(tuple(one for one in OPEN if one.endswith("-"))):
        return "open"
    return "unknown"
