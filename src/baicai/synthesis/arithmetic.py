"""Worked arithmetic in English, one step per line; every figure is correct."""

import random
from collections.abc import Callable, Mapping
from fractions import Fraction
from math import gcd

from baicai.synthesis.conversation import Chat
from baicai.synthesis.phrasing import Voice, options

#: Level 1: two or three digits; 2: more digits and steps; 3: what a leaf may train for.
PARAMETERS = {"level": "1"}
NAMES = options("""
Anna|Ben|Clara|David|Eva|Farid|Grace|Hugo|Iris|Jonas|Kim|Lena|Musa|Nora|Omar|Pia|Quinn|Rita|Sven|Tara|Uma
Viktor|Wen|Yusuf|Zoe
""")
THINGS = options("""
apples|books|marbles|stamps|buttons|pencils|shells|candles|tickets|seeds|cards|stones|plums|bricks|cups
beads
""")
BOXES = options("boxes|bags|crates|baskets|trays|packets")
# large unit, small unit, number of small units in a large one
UNITS = (
    ("km", "m", 1000),
    ("m", "cm", 100),
    ("kg", "g", 1000),
    ("l", "ml", 1000),
    ("h", "min", 60),
    ("min", "s", 60),
    ("cm", "mm", 10),
    ("days", "h", 24),
    ("weeks", "days", 7),
    ("t", "kg", 1000),
    ("dozen", "pieces", 12),
)
SINGULAR = {"days": "day", "weeks": "week", "pieces": "piece"}


# A question, the lines of its solution, and the answer.
Problem = tuple[str, list[str], str]


def write(rng: random.Random, params: Mapping[str, str]) -> str | Chat:
    """Write one to four problems with their solutions, as a page or as a chat."""
    level, v = int(params["level"]), Voice(rng)
    problems = [v.pick(KINDS)(v, level) for _ in range(v.pick((1, 1, 2, 2, 3, 4)))]
    if v.chance(0.5):
        return _chat(v, problems)
    heading = v.pick(("Problem {}. ", "{}) ", "", "Question: ", "Exercise {}: "))
    return "\n\n".join(
        "\n".join([heading.format(index) + question, *lines, _closing(v, answer)])
        for index, (question, lines, answer) in enumerate(problems, 1)
    )


def _chat(v: Voice, problems: list[Problem]) -> Chat:
    chat: Chat = []
    if v.chance(0.15):
        style = (
            "[Show every step.|You are a patient teacher of arithmetic.|Work it out line by line.|"
            "Give the steps, then the answer.]"
        )
        chat.append(("system", v.say(style)))
    opening = "[||||Please: |Help me: |Can you do this? ]"
    for question, lines, answer in problems:
        ask = v.say(f"{opening}{question}[||| Show the steps.| Step by step, please.]")
        chat += [("user", ask), ("assistant", "\n".join([*lines, _closing(v, answer)]))]
        opening = "[||||Next: |And this one: |Thanks. ]"
    return chat


def _closing(v: Voice, answer: str) -> str:
    return v.say(f"[Answer: {answer}|The answer is {answer}.|So the result is {answer}.|Result: {answer}]")


def _size(v: Voice, level: int, extra: int = 0) -> int:
    digits = v.number(max(1, level), level + 1 + extra)
    return v.number(10 ** (digits - 1) + (digits == 1), 10**digits - 1)


def add(v: Voice, level: int) -> Problem:
    numbers = [_size(v, level, 1) for _ in range(v.number(2, 1 + level) if level > 1 else 2)]
    e = " + ".join(map(str, numbers))
    question = v.say(f"[What is {e}?|Work out {e}.|Calculate {e}.|Add up: {e}|{e} = ?|Find the sum {e}.]")
    lines, total = [], numbers[0]
    for number in numbers[1:]:
        lines += _carry(v, total, number)
        total += number
    return question, lines, str(total)


def _carry(v: Voice, a: int, b: int) -> list[str]:
    """Add column by column, or digit by digit."""
    if v.chance(0.5) or a < 10 or b < 10:
        places = _places(b)
        lines, total = [f"{b} = {' + '.join(map(str, places))}"] if len(places) > 1 else [], a
        for part in places:
            lines.append(f"{total} + {part} = {total + part}")
            total += part
        return lines
    lines, carry, unit = [], 0, 1
    names = ("ones", "tens", "hundreds", "thousands", "ten thousands", "hundred thousands", "millions", "ten millions")
    while a // unit or b // unit:
        x, y = a // unit % 10, b // unit % 10
        column = x + y + carry
        plus = f" + {carry}" if carry else ""
        more = f", write {column % 10}, carry 1" if column > 9 else f", write {column}"
        lines.append(f"{names[len(str(unit)) - 1]}: {x} + {y}{plus} = {column}{more}")
        carry, unit = column // 10, unit * 10
    if carry:
        lines.append("the carried 1 goes in front")
    return [*lines, f"{a} + {b} = {a + b}"]


def _places(number: int) -> list[int]:
    text = str(number)
    return [int(digit) * 10 ** (len(text) - 1 - index) for index, digit in enumerate(text) if digit != "0"]


def subtract(v: Voice, level: int) -> Problem:
    a, b = sorted((_size(v, level, 1), _size(v, level, 1)), reverse=True)
    question = v.say(
        f"[What is {a} - {b}?|Work out {a} - {b}.|Take {b} away from {a}.|{a} minus {b}?|"
        f"Subtract {b} from {a}.|{a} - {b} = ?]"
    )
    places = _places(b)
    lines = [f"{b} = {' + '.join(map(str, places))}"] if len(places) > 1 else []
    rest = a
    for part in places:
        lines.append(f"{rest} - {part} = {rest - part}")
        rest -= part
    if v.chance(0.4):
        lines.append(f"Check: {rest} + {b} = {a}")
    return question, lines, str(rest)


def multiply(v: Voice, level: int) -> Problem:
    a, b = _size(v, level), _size(v, level - 1) if level > 1 else v.number(2, 12)
    question = v.say(
        f"[What is {a} x {b}?|Multiply {a} by {b}.|{a} times {b}?|Calculate {a} x {b}.|{a} x {b} = ?|"
        f"Find the product of {a} and {b}.]"
    )
    return question, _product(a, b), str(a * b)


def _product(a: int, b: int) -> list[str]:
    """Split the longer factor by digit, then add."""
    factor, split = (b, a) if b < 13 or len(str(a)) > len(str(b)) else (a, b)
    places = _places(split)
    if len(places) == 1 or factor in (1, 10, 100):
        return [f"{a} x {b} = {a * b}"]
    lines, total = [f"{split} = {' + '.join(map(str, places))}"], 0
    lines += [f"{part} x {factor} = {part * factor}" for part in places]
    for part in places:
        if total:
            lines.append(f"{total} + {part * factor} = {total + part * factor}")
        total += part * factor
    return lines


def divide(v: Voice, level: int) -> Problem:
    b = v.number(2, 12) if level < 3 else v.number(3, 99)
    a = _size(v, level, 1) + b
    quotient, rest = divmod(a, b)
    question = v.say(
        f"[Divide {a} by {b}.|What is {a} / {b}, with remainder?|"
        f"How many times does {b} go into {a}, and what is left?|{a} / {b} = ?|Calculate {a} divided by {b}.]"
    )
    lines: list[str] = []
    carried = 0
    for digit in str(a):
        carried = carried * 10 + int(digit)
        count = carried // b
        if count or lines:
            lines.append(
                f"{carried} / {b} = {count}, because {count} x {b} = {count * b}; {carried} - {count * b} = "
                f"{carried - count * b}"
            )
        carried -= count * b
    if v.chance(0.5):
        lines.append(f"Check: {quotient} x {b} + {rest} = {a}" if rest else f"Check: {quotient} x {b} = {a}")
    return question, lines, f"{quotient} remainder {rest}" if rest else str(quotient)


def fractions(v: Voice, level: int) -> Problem:
    top = 6 + 3 * level
    a, b, c, d = v.number(1, top), v.number(2, top), v.number(1, top), v.number(2, top)
    sign = v.pick("+-x/" if level > 1 else "+-")
    first, second = Fraction(a, b), Fraction(c, d)
    if sign == "-" and first < second:
        a, b, c, d, first, second = c, d, a, b, second, first
    text = f"{a}/{b} {sign} {c}/{d}"
    question = v.say(f"[What is {text}?|Calculate {text}.|Work out {text} as a fraction.|{text} = ?]")
    if sign in "+-":
        common = b * d // gcd(b, d)
        x, y = a * common // b, c * common // d
        top_line = x + y if sign == "+" else x - y
        lines = (
            [f"The common denominator of {b} and {d} is {common}."] if b != d else [f"Both have the denominator {b}."]
        )
        lines += [f"{p}/{q} = {z}/{common}" for p, q, z in ((a, b, x), (c, d, y)) if q != common]
        lines.append(f"{x}/{common} {sign} {y}/{common} = {top_line}/{common}")
        result, raw = (first + second if sign == "+" else first - second), (top_line, common)
    else:
        lines = [f"Dividing by {c}/{d} is multiplying by {d}/{c}."] if sign == "/" else []
        e, f = (d, c) if sign == "/" else (c, d)
        lines.append(f"{a}/{b} x {e}/{f} = {a * e}/{b * f}")
        result, raw = Fraction(a * e, b * f), (a * e, b * f)
    shared = gcd(*raw)
    if not result:
        lines.append(f"0/{raw[1]} = 0")
    elif shared > 1:
        lines.append(f"Divide both by {shared}: {raw[0]}/{raw[1]} = {_fraction(result)}")
    if result > 1 and result.denominator > 1 and v.chance(0.5):
        whole, rest = divmod(result, 1)
        lines.append(f"As a mixed number that is {whole} {rest}.")
    return question, lines, str(result)


def _fraction(value: Fraction) -> str:
    return f"{value.numerator}/{value.denominator}" if value.denominator > 1 else str(value.numerator)


def percent(v: Voice, level: int) -> Problem:
    rate = v.pick(((5, 10, 20, 25, 50), (5, 8, 12, 15, 30, 35, 40, 60, 75, 90), range(2, 99))[level - 1])
    base = v.number(2, 9 * 10 ** (level - 1)) * 20 if level < 3 else v.number(3, 200) * 50
    part = Fraction(base * rate, 100)
    hundredth, kind = _decimal(Fraction(base, 100)), v.number(0, 2)
    lines = [f"1 percent of {base} is {hundredth}.", f"{rate} x {hundredth} = {_decimal(part)}"]
    if kind == 0:
        question = v.say(
            f"[What is {rate}% of {base}?|Find {rate} percent of {base}.|How much is {rate} percent of {base}?]"
        )
        return question, lines, _decimal(part)
    if kind == 1:
        question = v.say(
            f"[A price of {base} [rises|goes up] by {rate} percent. What is it now?|Increase {base} by {rate} percent.]"
        )
        return question, [*lines, f"{base} + {_decimal(part)} = {_decimal(base + part)}"], _decimal(base + part)
    question = v.say(
        f"[A coat costs {base}, less {rate} percent. What do you pay?|Reduce {base} by {rate} percent.|"
        f"A price of {base} falls by {rate}%. What is the new price?]"
    )
    return question, [*lines, f"{base} - {_decimal(part)} = {_decimal(base - part)}"], _decimal(base - part)


def _decimal(value: Fraction) -> str:
    cents = value * 100
    assert cents.denominator == 1, value
    whole, rest = divmod(int(cents), 100)
    return f"{whole}.{rest:02d}".rstrip("0").rstrip(".") if rest else str(whole)


def convert(v: Voice, level: int) -> Problem:
    big, small, factor = v.pick(UNITS)
    count, rest = v.number(2, 9 * 4 ** (level - 1)), v.number(1, factor - 1)
    whole, total = count * factor, count * factor + rest
    known = f"1 {SINGULAR.get(big, big)} = {factor} {small}"
    left = f"{rest} {SINGULAR.get(small, small) if rest == 1 else small}"
    if v.chance(0.5):
        question = v.say(
            f"[How many {small} are {count} {big} and {left}?|Convert {count} {big} {left} to {small}.|"
            f"Write {count} {big} {left} in {small}.]"
        )
        return question, [known, f"{count} x {factor} = {whole}", f"{whole} + {rest} = {total}"], f"{total} {small}"
    question = v.say(
        f"[How many {big} and {small} are {total} {small}?|Convert {total} {small} to {big} and {small}.|"
        f"Write {total} {small} as {big} and {small}.]"
    )
    because = f"because {count} x {factor} = {whole} and {total} - {whole} = {rest}"
    return question, [known, f"{total} / {factor} = {count} remainder {rest}, {because}"], f"{count} {big} {left}"


def order(v: Voice, level: int) -> Problem:
    """An expression with brackets or with multiplication before addition."""
    a, b, c = v.number(2, 10 * level + 2), v.number(2, 9), v.number(2, 10 * level)
    kind = v.number(0, 2 if level == 1 else 3)
    if kind == 0:
        text, lines, total = f"{a} + {b} x {c}", [f"{b} x {c} = {b * c}", f"{a} + {b * c} = {a + b * c}"], a + b * c
    elif kind == 1:
        text, lines, total = (
            f"({a} + {c}) x {b}",
            [f"{a} + {c} = {a + c}", f"{a + c} x {b} = {(a + c) * b}"],
            (a + c) * b,
        )
    elif kind == 2:
        text, lines, total = f"{a * b} / {b} + {c}", [f"{a * b} / {b} = {a}", f"{a} + {c} = {a + c}"], a + c
    else:
        d = v.number(2, 20)
        first = a * b
        second = first + c * d
        text = f"{a} x {b} + {c} x {d}"
        lines, total = [f"{a} x {b} = {first}", f"{c} x {d} = {c * d}", f"{first} + {c * d} = {second}"], second
    return v.say(f"[What is {text}?|Calculate {text}.|Mind the order: {text} = ?|Work out {text}.]"), lines, str(total)


def story(v: Voice, level: int) -> Problem:
    person, friend = v.sample(NAMES, 2)
    thing, box = v.pick(THINGS), v.pick(BOXES)
    a, b, c = v.number(3, 12 * 3**level), v.number(2, 9 + 4 * level), v.number(2, 12 * level)
    kind = v.number(0, 5)
    if kind == 0:
        question = v.say(
            f"[{person} has {a} {thing} and [gets|finds|buys] {c} more. How many {thing} does {person} have [now|"
            f"in all]?|There are {a} {thing} on the table and {person} adds {c}. How many are there?]"
        )
        return question, [f"{a} + {c} = {a + c}"], f"{a + c} {thing}"
    if kind == 1:
        big = a + c
        question = v.say(
            f"[{person} has {big} {thing} and gives {c} to {friend}. How many are left?|"
            f"{person} had {big} {thing} and lost {c}. How many {thing} remain?]"
        )
        return question, [f"{big} - {c} = {a}"], f"{a} {thing}"
    if kind == 2:
        question = v.say(
            f"[{person} fills {b} {box} with {c} {thing} each. How many {thing} is that?|"
            f"There are {c} {thing} in each of {b} {box}. How many {thing} are there?]"
        )
        return question, _product(b, c), f"{b * c} {thing}"
    if kind == 3:
        total = b * c + v.number(0, b - 1)
        each, rest = divmod(total, b)
        question = v.say(
            f"[{person} shares {total} {thing} equally among {b} friends. How many does each get, and how many "
            f"are left over?|{person} packs {total} {thing} into {b} {box}, the same number in each. How many go "
            "in each, and how many are left over?]"
        )
        return (
            question,
            [f"{total} / {b} = {each} remainder {rest}", f"Check: {each} x {b} + {rest} = {total}"],
            f"{each} each, {rest} left over",
        )
    if kind == 4:
        price = v.number(2, 9 + 10 * level)
        cost = price * b
        paid = cost + v.number(1, 20)
        question = v.say(
            f"[One of the {thing} costs {price} coins. {person} buys {b} of them and pays with {paid} coins. How "
            f"much change does {person} get?|{person} pays {paid} coins for {b} {thing} at {price} coins each. What "
            "is the change?]"
        )
        return question, [f"{b} x {price} = {cost}", f"{paid} - {cost} = {paid - cost}"], f"{paid - cost} coins"
    speed, hours = v.number(3, 30 * level), v.number(2, 8)
    question = v.say(
        f"[{person} travels {speed} km in an hour. How far does {person} get in {hours} hours?|"
        f"A cart goes {speed} km every hour for {hours} hours. How far is that?]"
    )
    lines = _product(speed, hours)
    if level > 1:
        more = v.number(2, 40)
        question = (
            question.rsplit(". ", 1)[0] + f". After {hours} hours there are {more} km left. How long is the whole way?"
        )
        return question, [*lines, f"{speed * hours} + {more} = {speed * hours + more}"], f"{speed * hours + more} km"
    return question, lines, f"{speed * hours} km"


KINDS: tuple[Callable[[Voice, int], Problem], ...] = (
    add,
    add,
    subtract,
    subtract,
    multiply,
    multiply,
    divide,
    fractions,
    percent,
    convert,
    order,
    story,
    story,
)
