"""The frame of our pages: one HTML file that loads nothing, runs no script and follows the reader's light or dark."""

from baicai.evaluation.plots import DARK, LIGHT, Look

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
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(10rem,1fr));gap:1px;background:var(--rule);
 border:1px solid var(--rule);border-radius:.6rem;overflow:hidden;margin:0}
.tiles div{background:var(--paper);padding:.9rem 1rem}
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


def _colours(look: Look) -> str:
    return f":root{{{''.join(f'--{name}:{colour};' for name, colour in look._asdict().items())}}}"
