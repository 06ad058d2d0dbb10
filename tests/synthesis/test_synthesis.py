import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from hashlib import sha256
from itertools import pairwise

import pytest

from baicai.data.document import Document
from baicai.data.readers import read_documents
from baicai.errors import DataError
from baicai.synthesis import LIBRARIES, NAMES, TEMPLATES, generate, household, market_zh, python_library
from baicai.synthesis.conversation import Turn
from baicai.synthesis.household_world import DISH, ITEM
from baicai.synthesis.household_world import World as Household
from baicai.synthesis.market_zh_world import World as Market
from baicai.synthesis.market_zh_world import han

VARIANTS = [(name, f"world={world}") for name in ("household", "market_zh") for world in ("many", "7")]
VARIANTS += [("arithmetic", f"level={level}") for level in (1, 2, 3)]
DIGEST = "import sys; from test_synthesis import digest; print(digest(*sys.argv[1:]))"


@cache
def made(name: str, query: str, documents: int = 300) -> tuple[Document, ...]:
    parameters = f"{query}&documents={documents}" if query else f"documents={documents}"
    return tuple(read_documents(f"generator:{name}?{parameters}"))


def turns(documents: tuple[Document, ...]) -> Iterator[Turn]:
    for document in documents:
        for first, second in pairwise(document.messages):
            if (first.role, second.role) == ("user", "assistant"):
                yield Turn(first.content, second.content)


def texts(documents: tuple[Document, ...]) -> Iterator[str]:
    for document in documents:
        yield from document.contents


def digest(name: str, query: str) -> str:
    return sha256(repr([d.contents for d in made(name, query, 30)]).encode()).hexdigest()


@pytest.mark.parametrize("name", TEMPLATES)
def test_another_process_makes_the_same_documents(name: str) -> None:
    query = "level=3" if name == "arithmetic" else "world=7"
    command = [sys.executable, "-c", DIGEST, name, query]
    if name == "household":
        environment = {"PYTHONHASHSEED": "1", "PYTHONPATH": ":".join([*sys.path, __file__.rpartition("/")[0]])}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
        assert done.stdout.strip() == digest(name, query)
    assert made(name, query, 30) == made.__wrapped__(name, query, 30)
    assert [d.id for d in made(name, query, 30)] != [d.id for d in made(name, query + "&seed=1", 30)]


@pytest.mark.parametrize(("name", "query"), VARIANTS)
def test_documents_are_well_formed(name: str, query: str) -> None:
    documents = made(name, query)
    assert len(documents) == 300
    assert len({document.id for document in documents}) > 285
    assert 90 < sum(bool(document.messages) for document in documents) < 240
    for document in documents:
        assert document.licence == "CC0-1.0"
        assert document.source == f"baicai:{name}?{query}"
        roles = [message.role for message in document.messages]
        spoken = roles[1:] if roles[:1] == ["system"] else roles
        assert spoken == ["user", "assistant"] * (len(spoken) // 2)
        for text in document.contents:
            assert text == text.strip()
            assert not re.search(r"[\[\]{}|]|None|\.\.| [,.;!]|[^ \n] {2,3}[^ \n]| \n", text), text


@pytest.mark.parametrize("name", NAMES)
def test_the_splits_share_no_document(name: str) -> None:
    documents = 30 if name in LIBRARIES else 100
    train, valid = (
        {"\n".join(document.contents) for document in made(name, f"split={split}", documents)}
        for split in ("train", "valid")
    )
    assert valid
    assert train.isdisjoint(valid)


def value(expression: str) -> Fraction:
    """Work out +, -, x and / between spaces, with at most one pair of brackets; 2/3 without spaces is a number."""
    if bracket := re.search(r"\(([^()]*)\)", expression):
        return value(expression.replace(bracket[0], str(value(bracket[1]))))
    first, *rest = expression.split(" ")
    terms = [Fraction(first)]
    for sign, number in zip(rest[::2], rest[1::2], strict=True):
        if sign in "x/":
            terms[-1] = terms[-1] * Fraction(number) if sign == "x" else terms[-1] / Fraction(number)
        else:
            terms.append(Fraction(number) if sign == "+" else -Fraction(number))
    return sum(terms, Fraction(0))


NUMBER = r"\d+(?:\.\d+)?(?:/\d+)?"
EXPRESSION = rf"\(?{NUMBER}(?:\)? [-+x/] \(?{NUMBER})+\)?"
EQUATION = re.compile(rf"({EXPRESSION}|\d+/\d+) = (\d+ remainder \d+|{NUMBER})")
ASKED = re.compile(rf"^[^\d(]*({EXPRESSION})\D*$")
ANSWER = re.compile(rf"(?:Answer: |answer is |result is |Result: )({NUMBER})\.?$")


@pytest.mark.parametrize("level", ["1", "2", "3"])
def test_arithmetic_is_right(level: str) -> None:
    equations = answers = 0
    for text in texts(made("arithmetic", f"level={level}")):
        for expression, result in EQUATION.findall(text):
            equations += 1
            if "remainder" in result or f"{expression} = {result}, because" in text:
                a, b = map(int, expression.split(" / "))
                assert result in (f"{a // b}", f"{a // b} remainder {a % b}")
            else:
                assert value(expression) == Fraction(result), text
    for turn in turns(made("arithmetic", f"level={level}")):
        asked, answer = ASKED.match(turn.question), ANSWER.search(turn.answer)
        if asked and answer and "remainder" not in turn.question and (" / " not in asked[1] or "/" in asked[1][:4]):
            answers += 1
            assert value(asked[1]) == Fraction(answer[1]), turn
    assert equations > 500
    assert answers > 40


def test_divisions_with_remainder_are_answered_right() -> None:
    checked = 0
    for turn in turns(made("arithmetic", "level=3")):
        if asked := re.search(r"Divide (\d+) by (\d+)", turn.question):
            quotient, rest = divmod(int(asked[1]), int(asked[2]))
            assert re.search(rf"\b{quotient} remainder {rest}\b" if rest else rf" {quotient}\.?$", turn.answer)
            checked += 1
    assert checked > 1


def cents(text: str) -> int:
    return int(text.replace(",", "").replace(".", ""))


@pytest.mark.parametrize("world", ["many", "7"])
def test_receipts_add_up(world: str) -> None:
    for name, total, paid, change in (("household", "TOTAL", "CASH", "CHANGE"),):
        seen = 0
        for text in texts(made(name, f"world={world}")):
            for receipt in re.findall(
                rf"((?:\d [^\n]* {{2,}}[^\n]*\n)+{total} [^\n]*\n[^\n]*(?:\n{change}[^\n]*)?)", text
            ):
                lines = [
                    (line.split()[0], cents(re.findall(r"\d+[.,]\d\d", line)[-1])) for line in receipt.splitlines()
                ]
                bought = [amount for first, amount in lines if first.isdigit()]
                amounts = dict(lines)
                assert amounts[total] == sum(bought)
                if paid in amounts:
                    assert amounts[change] == amounts[paid] - amounts[total]
                seen += 1
        assert seen > 5
    for text in texts(made("market_zh", f"world={world}")):
        for account in re.findall(r"((?:\S+ \d+\S × .*\n)+合计.*)", text):
            sums = re.findall(r"= ([\d.]+)元", account)
            assert sum(map(Fraction, sums)) == Fraction(re.findall(r"合计 ([\d.]+)元", account)[0])


SUM = re.compile(r"(.*?)\. (?:Together that is|In all,|The total is|You need) \D?([\d.,]+\d)")


def test_sums_in_answers_are_right() -> None:
    products = totals = 0
    for name, times in (("household", r"(\d+) x \D([\d.]+) = \D([\d.]+\d)"),):
        for turn in turns(made(name, "world=7") + made(name, "world=many")):
            for count, price, total in re.findall(times, turn.answer):
                assert int(count) * cents(price) == cents(total)
                products += 1
            parts = SUM.match(turn.answer)
            if parts and " per 100 g" not in turn.answer:
                kept = re.sub(r"\d x \D[\d.]+ =", "", parts[1])
                assert sum(map(cents, re.findall(r"\d+[.,]\d\d", kept))) == cents(parts[2]), turn
                totals += 1
    for turn in turns(made("market_zh", "world=7") + made("market_zh", "world=many")):
        seen = re.findall(r"([\d.]+)×(\d+)=([\d.]+)元", turn.answer)
        for price, count, product in seen:
            assert Fraction(price) * int(count) == Fraction(product)
        if whole := re.search(r"(?:一共|总共|合计|加起来是)([\d.]+)元", turn.answer):
            assert not seen or sum(Fraction(product) for _, _, product in seen) == Fraction(whole[1]), turn
            totals += 1
    assert products > 40
    assert totals > 80


PRICES = {
    "household": r"([Aa]n? \w+ of [a-z ]+) costs \D([\d.]+\d) at ([A-Z'&a-z ]+?)\.",
    "market_zh": r"([王李老陈刘赵周孙吴郑冯何马徐胡林梁宋]\S{1,2})的([^\s，。]{1,3}?)([\d.]+)元一斤",
}


@pytest.mark.parametrize("name", PRICES)
def test_a_private_world_keeps_its_prices_and_many_worlds_do_not(name: str) -> None:
    def found(world: str) -> dict[tuple[str, str], set[str]]:
        prices = defaultdict(set)
        for text in texts(made(name, f"world={world}", 1000)):
            for groups in re.findall(PRICES[name], text):
                item, shop, price = groups if name != "household" else (groups[0], groups[2], groups[1])
                prices[item.lower(), shop].add(price)
        return prices

    private, many = found("7"), found("many")
    assert len(private) > 20
    assert all(len(prices) == 1 for prices in private.values())
    assert any(len(prices) > 1 for prices in many.values())


def test_worlds_differ_and_their_facts_do_not_depend_on_the_order_of_asking() -> None:
    world, again, other = Household("7"), Household("7"), Household("8")
    items = list(ITEM.values())
    assert [world.prices(item) for item in items] == [again.prices(item) for item in reversed(items)][::-1]
    assert [world.prices(item) for item in items] != [other.prices(item) for item in items]
    assert world.members == again.members
    assert world.members != other.members
    for world in map(str, range(40)):
        assert all(len(set(Household(world).prices(item))) == 3 for item in items)


@pytest.mark.parametrize("module", [household, market_zh])
def test_probes_agree_with_the_generated_talk(module: object) -> None:
    probes = module.probes(7, 40, 1)  # type: ignore[attr-defined]
    assert probes == module.probes(7, 40, 1)  # type: ignore[attr-defined]
    assert len(dict(probes)) == 40
    assert probes != module.probes(8, 40, 1)  # type: ignore[attr-defined]
    name = module.__name__.rpartition(".")[2]  # type: ignore[attr-defined]
    answers = defaultdict(list)
    for turn in turns(made(name, "world=7", 1000)):
        answers[turn.question].append(turn.answer)
    met = 0
    for question, expected in probes:
        assert expected not in question
        for answer in answers[question]:
            assert expected.lower() in answer.lower(), (question, answer)
            met += 1
    assert met > 10


def test_a_household_warns_of_allergies() -> None:
    home = Household("7")
    members = {member.name: member for member in home.members}
    dishes = {dish.name: dish for dish in DISH}
    asked = re.compile(r"(?:Can|Is|Are) (\w+) eat (?:the |our )?([a-z ]+)\?|(?:Is|Are) ([a-z ]+) safe for (\w+)\?")
    verdicts = defaultdict(int)
    for turn in turns(made("household", "world=7", 1000)):
        if match := asked.search(turn.question):
            name, dish = (match[1], match[2]) if match[1] else (match[4], match[3])
            if name == "everybody":
                continue
            harmful = members[name].allergy in dishes[dish].allergens
            assert turn.answer.startswith(("No", "Careful") if harmful else ("Yes", "Of course")), turn
            verdicts[harmful] += 1
    assert verdicts[True] > 0
    assert verdicts[False] > 3


def test_chinese_numbers_and_stalls() -> None:
    assert [han(n) for n in (2, 10, 15, 20, 105, 110, 1001)] == [
        "二",
        "十",
        "十五",
        "二十",
        "一百零五",
        "一百一十",
        "一千零一",
    ]
    market = Market("zh7")
    for good in market.sold_by(market.sellers[0]):
        (cheaper, low), (dearer, high) = market.offers(good)
        assert cheaper != dearer
        assert low < high


def test_the_library_is_cut_into_pieces_that_lose_nothing() -> None:
    for file in ("json/decoder.py", "argparse.py", "turtle.py"):
        pieces = list(python_library.texts(file))
        assert all(len(piece) <= python_library.MAX_DOCUMENT_CHARACTERS + 1 for piece in pieces)
        kept = [line for line in "".join(pieces).splitlines() if line.strip()]
        assert kept == [line for line in python_library.source(file).splitlines() if line.strip()]
    folders = {folder for file in python_library.files() for folder in file.split("/")[:-1]}
    assert "json" in folders
    assert folders.isdisjoint({"test", "tests", "idlelib", "lib2to3", "site-packages", "encodings"})


@pytest.mark.parametrize("name", LIBRARIES)
def test_the_library_is_shuffled_by_the_seed(name: str) -> None:
    first, other = made(name, "", 20), made(name, "seed=1", 20)
    assert {(d.source, d.licence) for d in first} == {("python:stdlib", "PSF-2.0")}
    assert [d.id for d in first] != [d.id for d in other]
    assert first == made.__wrapped__(name, "", 20)


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        (
            "houshold",
            {},
            "unknown generator 'houshold', did you mean 'household'?: choose one of household, arithmetic",
        ),
        ("xyz", {}, "unknown generator 'xyz': choose one of"),
        (
            "household",
            {"wrold": "7"},
            "no parameter 'wrold', did you mean 'world'?: it takes documents, seed, split, world",
        ),
        ("arithmetic", {"level": "4"}, "'arithmetic': level is '4', but it must be 1, 2 or 3"),
        ("household", {"world": "some"}, "world is 'some', but it must be 'many' or a whole number"),
        ("market_zh", {"documents": "-1"}, "documents is '-1', but it must be a whole number"),
        ("python_docs", {"split": "test"}, "split is 'test', but it must be train or valid"),
        ("python_library", {"world": "7"}, "'python_library' has no parameter 'world'"),
    ],
)
def test_a_bad_request_names_what_is_wrong(name: str, params: dict[str, str], message: str) -> None:
    with pytest.raises(DataError, match=re.escape(message)):
        generate(name, params)
