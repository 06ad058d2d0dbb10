import pytest

from baicai.data.html_text import html_to_text

PAGES = {
    "<p>one <b>bold</b> word</p><p>two</p>": "one bold word\n\ntwo",
    "<html><head><title>T</title><style>b{}</style><script>if (a<b) x()</script></head><body>text": "T\n\ntext",
    "a<br>b<br/>c<hr>d": "a\nb\nc\nd",
    "&lt;5 &amp; &#33756; &eacute;&nbsp;x": "<5 & 菜 é\u00a0x",
    "<ul><li>a</li>\n  <li>b</li></ul>": "a\n\nb",
    "<p>def:</p><pre>def f():\n    return  1\n</pre>done": "def:\n\ndef f():\n    return  1\n\ndone",
    "a <svg><style>x</style><g><text>no</text></g></svg> b": "a b",
    "a <template><p>no</p></template></script>b": "a b",
    "<!-- comment --><!doctype html>plain": "plain",
    "a\n   wrapped\n line": "a wrapped line",
    "": "",
    "<script>never closed": "",
}


@pytest.mark.parametrize("page", PAGES)
def test_a_page_becomes_its_text(page: str) -> None:
    assert html_to_text(page) == PAGES[page]
