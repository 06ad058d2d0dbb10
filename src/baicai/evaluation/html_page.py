"""The frame of our pages: one HTML file that loads nothing, runs no script and follows the reader's light or dark."""

import base64
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import Any

from baicai.evaluation.figure_style import DARK, DPI, LIGHT, NO_GLYPH, Look
from baicai.evaluation.tables import NAME_HEADS, Cell, printable, shortened

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
_STYLE = """
*{box-sizing:border-box}
body{margin:0 auto;padding:2rem 1.25rem 4rem;max-width:60rem;background:var(--paper);color:var(--ink);
 font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","Noto Sans CJK SC","PingFang SC",sans-serif;
 overflow-wrap:anywhere}
h1{font-size:clamp(1.5rem,4.5vw,2.3rem);line-height:1.2;margin:.3rem 0 1.4rem;text-wrap:balance}
h2{font-size:1.25rem;margin:3rem 0 .3rem;padding-top:1.2rem;border-top:1px solid var(--rule)}
p,li,figcaption,.note{max-width:44rem}
.note,figcaption,.kicker,dt,summary,th{color:var(--faint)}
.kicker{font-size:.9rem;margin:0}
.tiles{display:flex;flex-wrap:wrap;gap:1px;background:var(--rule);
 border:1px solid var(--rule);border-radius:.6rem;overflow:hidden;margin:0}
.tiles div{background:var(--paper);padding:.9rem 1rem;flex:1 1 max(10rem,100%/var(--across) - 1px)}
.tiles dd{margin:0;font-size:1.6rem;font-weight:650}
.tiles dt{font-size:.85rem;line-height:1.35}
.tiles div{display:flex;flex-direction:column-reverse;justify-content:flex-end}
.wide{overflow-x:auto;margin:1rem 0}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.92rem}
th,td{padding:.35rem .6rem;text-align:right;white-space:nowrap;border-bottom:1px solid var(--rule)}
th{font-weight:500;vertical-align:bottom}
thead th{white-space:normal;overflow-wrap:normal}
tbody th,.name{text-align:left}
tbody th{position:sticky;left:0;background:var(--paper);color:var(--ink)}
.facts :is(th,td){vertical-align:top;white-space:normal;overflow-wrap:normal}
.facts code{display:block;text-align:left;overflow-wrap:anywhere}
tr.mean>*{font-style:italic;border-bottom:2px solid var(--faint)}
td b{color:var(--accent)}
figure{margin:1rem 0}
figure img{display:block;max-width:100%;height:auto}
@media(max-width:40rem){figure img{max-width:none;width:max(100%,var(--narrow))}}
figcaption{margin-top:.5rem;font-size:.92rem}
.sample{border:1px solid var(--rule);border-radius:.6rem;padding:.9rem 1rem;margin:1rem 0}
.sample p{margin:0;max-width:none;white-space:pre-wrap;line-height:1.9;unicode-bidi:isolate}
.sample p.prompt{color:var(--faint);line-height:1.5;margin-bottom:.5rem}
.sample span{border-radius:.2rem;padding:.1rem 0}
.legend{display:flex;flex-wrap:wrap;gap:.3rem 1.1rem;padding:0;margin:.8rem 0;list-style:none;font-size:.92rem}
.legend i{display:inline-block;width:.85rem;height:.85rem;border-radius:.2rem;margin-right:.4rem;vertical-align:-.08rem}
code{font-size:.85rem}
"""


def page(title: str, body: str) -> bytes:
    """Return a page as UTF-8; `title` and `body` are HTML."""
    text = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{title}</title>\n<style>{_colours(LIGHT)}"
        f"@media(prefers-color-scheme:dark){{{_colours(DARK)}}}{_STYLE}</style></head>\n"
        f"<body>\n{body}</body></html>\n"
    )
    return text.encode("utf-8", "replace")


def tiles(values: Mapping[str, str]) -> str:
    """Return numbers in large type, each over what it says; both are HTML."""
    across = len(values) if len(values) < 5 else -(-len(values) // 2)
    shown = "".join(f"<div><dt>{says}</dt><dd>{value}</dd></div>" for says, value in values.items())
    return f'<dl class="tiles" style="--across:{across}">{shown}</dl>'


def table(heads: Sequence[str], rows: Iterable[tuple[Sequence[Cell], bool]]) -> str:
    """Return a table; the first cell of a row names it, and a row may be a mean of others."""
    sides, body = [" class=name" if head in (heads[0], *NAME_HEADS) else "" for head in heads], ""
    for (label, *cells), mean in rows:
        values = ""
        for side, cell in zip(sides[1:], cells, strict=True):
            values += f"<td{side}>{f'<b>{cell.text}</b>' if cell.best else short(cell.text)}</td>"
        body += f"<tr{' class=mean' if mean else ''}><th>{short(label.text)}</th>{values}</tr>"
    head = "".join(f"<th{side}>{short(head)}</th>" for side, head in zip(sides, heads, strict=True))
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def facts(title: str, values: Mapping[str, str]) -> str:
    """Return a section that is a list of names and values; the values are HTML."""
    rows = "".join(f"<tr><th>{short(text)}</th><td>{value}</td></tr>" for text, value in values.items())
    return f'<h2>{title}</h2><div class="wide"><table class="facts">{rows}</table></div>'


def figure(draw: Callable[[Mapping[str, Any], bool], bytes], results: Mapping[str, Any], *captions: str) -> str:
    """Return a picture of results, drawn for light and for dark; the captions are HTML."""
    light, dark = (draw(results, night) for night in (False, True))
    width, height = (round(pixels * 120 / DPI) for pixels in struct.unpack(">II", light[16:24]))
    urls = [f"data:image/png;base64,{base64.b64encode(png).decode()}" for png in (light, dark)]
    source = f'<source media="(prefers-color-scheme: dark)" srcset="{urls[1]}">'
    size = f'width="{width}" height="{height}" style="--narrow:{0.55 * width:.0f}px"'
    picture = f'<picture>{source}<img src="{urls[0]}" {size} alt="{captions[0]}"></picture>'
    return f'<figure><div class="wide">{picture}</div><figcaption>{"<br>".join(captions)}</figcaption></figure>'


def undrawn(labels: Mapping[str, str]) -> list[str]:
    """Return a caption that spells the names that the pictures cannot, or none."""
    strange = [f"{name(label)} is {name(text)}" for text, label in labels.items() if NO_GLYPH in label]
    return [f"No font here can draw some names: {'; '.join(strange)}."] if strange else []


def name(text: str) -> str:
    """Return a name as HTML."""
    return escape(printable(text))


def short(text: str) -> str:
    """Return a name as HTML that is shown in at most 26 columns, whole under the pointer."""
    shown = shortened(text, 26)
    return name(text) if shown == text else f'<span title="{name(text)}">{name(shown)}</span>'


def prose(text: str) -> str:
    """Return a text of many lines as HTML."""
    return escape("".join(c if c in "\n\t" or (c >= " " and c != "\x7f") else "\ufffd" for c in text))


def _colours(look: Look) -> str:
    return f":root{{{''.join(f'--{name}:{colour};' for name, colour in look._asdict().items())}}}"
