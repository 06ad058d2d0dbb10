"""HTML pages from Jinja2 templates: one file each, without scripts or external resources, in the reader's theme."""

import base64
import struct
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, TypeVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from baicai.evaluation.figure_style import DARK, DPI, LIGHT, MISSING_GLYPH
from baicai.evaluation.formatting import multiline, printable, shortened
from baicai.evaluation.tables import TEXT_COLUMNS

R = TypeVar("R")
_SHARED = Path(__file__).with_name("templates")


class Picture(NamedTuple):
    """A plot for light and for dark pages, as data URLs."""

    light: str
    dark: str
    width: int
    """In CSS pixels."""
    height: int


def render_page(template: Path, **values: object) -> bytes:
    """Render a template, which may extend `base.html` and import `macros.html`, to a page in UTF-8.

    Values are escaped, and a name that the template uses and nobody passes is an error.
    """
    return _environment(template.parent).get_template(template.name).render(values).encode("utf-8", "replace")


def draw_picture(draw: Callable[[R, bool], bytes], results: R) -> Picture:
    """Draw a plot of results for both themes."""
    light, dark = (draw(results, is_dark) for is_dark in (False, True))
    width, height = (round(pixels * 120 / DPI) for pixels in struct.unpack(">II", light[16:24]))
    urls = [f"data:image/png;base64,{base64.b64encode(image).decode()}" for image in (light, dark)]
    return Picture(urls[0], urls[1], width, height)


def missing_glyphs(labels: Mapping[str, str]) -> dict[str, str]:
    """Map the labels that plots cannot spell in full to their names."""
    return {label: name for name, label in labels.items() if MISSING_GLYPH in label}


@lru_cache
def _environment(folder: Path) -> Environment:
    loader = FileSystemLoader([folder, _SHARED])
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"printable": printable, "shortened": shortened, "multiline": multiline}
    environment.globals |= {"light": LIGHT._asdict(), "dark": DARK._asdict(), "text_columns": TEXT_COLUMNS}
    return environment
