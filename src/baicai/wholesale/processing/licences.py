"""Licence classes: whether a licence is open, restricted or unknown."""

from typing import Literal

LicenceClass = Literal["open", "restricted", "unknown"]
OPEN = (
    "0BSD", "AFL-", "AGPL-", "APACHE-2.0", "ARTISTIC-2.0", "BLUEOAK-", "BSD-", "BSL-1.0", "CC-BY-", "CC-PDDC",
    "CC0-1.0", "CDDL-", "CURL", "ECL-", "EPL-", "EUPL-", "FREEBSD-DOC", "FSFAP", "GFDL-", "GPL-", "HPND", "ISC",
    "LICENSEREF-OFFICIAL-WORKS", "LICENSEREF-PUBLIC-DOMAIN", "LGPL-", "MIT", "MIT-0", "MPL-", "NCSA",
    "ODBL-", "ODC-BY-", "OFL-", "OGL-UK-", "PDDL-1.0", "POSTGRESQL", "PSF-2.0", "PUBLIC-DOMAIN", "PYTHON-2.0", "RUBY",
    "UNICODE-", "UNLICENSE", "VIM", "W3C", "WTFPL", "X11", "ZLIB", "ZPL-",
)  # fmt: skip
"""Prefixes of SPDX ids that allow use, modification and redistribution for any purpose, possibly with conditions."""
RESTRICTED = ("CC-BY-NC", "CC-BY-ND", "PROPRIETARY", "ALL-RIGHTS-RESERVED", "BUSL-", "SSPL-")
RANK: dict[LicenceClass, int] = {"open": 0, "unknown": 1, "restricted": 2}
"""Order of preference among captures of the same text; the smallest rank is kept."""


def licence_class(licence: str) -> LicenceClass:
    """Classify a licence by its SPDX id."""
    name = licence.strip().upper().replace(" ", "-")
    if name.startswith(RESTRICTED):
        return "restricted"
    if name in OPEN or name.startswith(tuple(prefix for prefix in OPEN if prefix.endswith("-"))):
        return "open"
    return "unknown"
