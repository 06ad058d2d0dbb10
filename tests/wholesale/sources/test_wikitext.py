"""Tests of converting wikitext to text, with pages built to keep parsers busy."""

import random
import time

import pytest

from baicai.wholesale.sources.wikitext import wikitext_to_text

PAGE = """{{Infobox Cheese
| name = Käse
| image = [[File:Inner.jpg|thumb]] {{nested|a={{deeper}}}}
}}
'''Käse''' (''caseus'') is a [[food|sort of food]] made of [[milk]].<ref name="a">A {{cite|[[y]]}}</ref><ref name="a"/>
It costs 5&nbsp;&euro; &lt;today&gt;.<!-- a
comment --> See [https://a.example/x the list], [https://b.example] and [[:Category:Cheese]].
__NOTOC__
== History ==
[[File:A.jpg|thumb|A [[cow]] in a [[field|meadow]]]]
* one
** two [[Snake_case|dog]]s
# three
: indented
{| class="wikitable"
! a
|-
| b || {{c|d}}
{|
| inner
|}
|}
=== Formula ===
<math>x^2 = [[y]]</math> and <nowiki>[[no link]] {{no template}}</nowiki><br/>next<gallery>
B.jpg|text
</gallery>
{{Navigation}}
[[Category:Cheese|Käse]]
[[de:Käse]]
"""
TEXT = """Käse (caseus) is a sort of food made of milk.
It costs 5\xa0€ <today>. See the list, and Category:Cheese.

History

- one
- two dogs
- three
indented

Formula
x^2 = [[y]] and [[no link]] {{no template}}
next"""


def test_page_becomes_the_text_its_readers_see() -> None:
    assert wikitext_to_text(PAGE) == TEXT


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("a {{b c", "a b c"),
        ("a [[b c", "a b c"),
        ("a }} b ]] c", "a b ]] c"),
        ("{{a|{{b}} c {{d}} end", "a| c end"),
        ("a <ref>b c", "a b c"),
        ("a <!-- b c", "a"),
        ("a\n{|\n| b\nc", "a\n\nc"),
        ("a {{{b|c}}} d {{{{{e}}}|f}} g", "a d g"),
        ("{{a\n|b=c\n|}}d", "d"),
        ("[[a|b|c]] [[ d ]]", "b|c d"),
        ("[[Datei:A|mini|b]] [[Foo:Ä.png|b]] [[分类:甲]] [[Talk:A|b]]", "b"),
        ("[[wikt:a|b]] [[zh-min-nan:a]] [[AC/DC]]", "b AC/DC"),
        ("[http://a b [[c]]] [[d [http://e f]]]", "b c d f"),
        ("L''''amour'''", "L'amour"),
        ("a __init__ b __TOC__ c", "a __init__ b c"),
        ("-{zh-hans:计算机; zh-hant:電腦}- -{甲}- -{H|zh-cn:a;zh-tw:b}- -{A|zh-cn:a;zh-tw:b}-", "计算机 甲 a"),
        ("a <source lang='c'>if (a < b) {{</source> b", "a if (a < b) {{ b"),
        ("a < b <i>c</i> &#" + "9" * 5000 + "; &#x41;", "a < b c &#" + "9" * 5000 + "; A"),
        ("== a ==\n==\n=b\n----\nc", "a\n==\n=b\n\nc"),
        ("", ""),
    ],
)  # fmt: skip
def test_markup_is_converted_and_unclosed_markup_is_text(page: str, text: str) -> None:
    assert wikitext_to_text(page) == text


MARKUP = (
    "{{", "{{a|", "}}", "[[", "[[a|", "]]", "{|\n", "\n|}", "<ref>", "<ref name='", "</ref>", "<b>", "<a <a", "'''a''b",
    "{{{", "}}}", "== a\n", "[http://a ", "<!--", "{|\n|-\n|", "<", "&", "*", ":;", "__a", "|", "-{", "}-", "<nowiki>",
    "{{[[<b>", "{{a|b=", "[[a|[http://b ", "\n", " ", "x", "__", "=",
)  # fmt: skip


@pytest.mark.parametrize("markup", MARKUP, ids=repr)
def test_time_is_linear_in_the_length(markup: str) -> None:
    begun = time.monotonic()
    wikitext_to_text(markup * (600_000 // len(markup)) + "x" + "}} ]] |} </ref>" * 100)
    assert time.monotonic() - begun < 20, "the time is quadratic in the length"


@pytest.mark.parametrize(
    "page",
    ["[[a|x" * 200_000 + "]]" * 200_000, "[[a " * 100_000 + "\n|}" * 100_000, "<nowiki>" * 400_000],
    ids=["nested", "closed by another kind", "never closed"],
)
def test_open_markup_is_not_searched_repeatedly(page: str) -> None:
    begun = time.monotonic()
    wikitext_to_text(page)
    assert time.monotonic() - begun < 20


def test_random_markup_is_read_without_an_error() -> None:
    rng = random.Random(0)
    for _ in range(500):
        wikitext_to_text("".join(rng.choices(MARKUP, k=rng.randint(1, 60))))
