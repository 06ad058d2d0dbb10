"""Papers of a household: lists, receipts, recipes, notes, pages of a diary."""

from collections.abc import Callable
from fractions import Fraction

from baicai.synthesis.household_talk import (
    ITEMS,
    fact_allergy,
    fact_dinner,
    fact_hours,
    fact_place,
    fact_price,
    fact_stock,
)
from baicai.synthesis.household_world import DAYS, World
from baicai.synthesis.phrasing import Voice, listing


def receipt(v: Voice, w: World) -> str:
    shop, day = v.pick(w.shops), v.pick(DAYS)
    lines, total = [], 0
    for item in v.sample(ITEMS, v.number(3, 7)):
        count, price = v.pick((1, 1, 1, 2, 3)), w.price(item, shop)
        total += count * price
        name = f"{w.brand(item)} {item.name}" if item.kind == "dry" and v.chance(0.5) else item.name
        left = f"{count} x {name}, {item.unit}" if count == 1 else f"{count} x {name}, {item.unit}, at {w.money(price)}"
        lines.append(f"{left:<42}{w.money(count * price):>8}")
    lines.append(f"{'TOTAL':<42}{w.money(total):>8}")
    if v.chance(0.6):
        paid = next(note for note in (1000, 2000, 5000, 10000, 20000) if note >= total)
        lines += [f"{'CASH':<42}{w.money(paid):>8}", f"{'CHANGE':<42}{w.money(paid - total):>8}"]
    else:
        lines.append(f"{'CARD':<42}{w.money(total):>8}")
    head = f"{shop.upper()}\n{w.street(shop)}\n{day}, {v.number(9, 16)}:{v.number(10, 59)}"
    who = v.pick(("Dana", "Ravi", "Ute", "Pascal", "Ming"))
    return (
        f"{head}\n\n"
        + "\n".join(lines)
        + "\n\n"
        + v.say(
            "[Thank you for shopping with us!|Please keep this receipt.|See you soon!|"
            f"You were served by {who}.|Goods can be returned within seven days.]"
        )
    )


def shopping_list(v: Voice, w: World) -> str:
    shop, day = v.pick(w.shops), v.pick(DAYS)
    rows, total = [], 0
    for item in v.sample(ITEMS, v.number(3, 8)):
        count = v.pick((1, 1, 2, 2, 3))
        total += count * w.price(item, shop)
        who = v.pick(w.names)
        it = "them" if item.plural else "it"
        cost = w.money(count * w.price(item, shop))
        note = v.words(f"[|||| ({w.brand(item)}, not another one)| for {who}| if they have {it}| (about {cost})]")
        rows.append(f"- {item.packs(count)}{note}")
    head = v.say(f"[Shopping list for {day}|To buy at {shop}|{shop}, {day}|We need from {shop}]:")
    cost = w.money(total)
    foot = v.say(f"[|That should be {cost}.|Take {cost} with you.|All together {cost} at {shop}.]")
    return "\n".join([head, *rows, foot]).rstrip()


def recipe(v: Voice, w: World) -> str:
    dish, people = v.pick(w.dishes), v.pick((4, 4, 4, 2, 6, 8))
    amounts = [amount.scaled(Fraction(people, 4)) for amount in dish.amounts]
    names = [amount.item.name for amount in amounts]
    first, others = names[0], listing(names[1:])
    minutes = w.minutes(dish)
    it = "them" if amounts[0].item.plural else "it"
    steps = [
        v.say(
            "[Get everything out first.|Wash your hands and put on an apron.|Put everything on the table.|"
            "Read this to the end before you start.]"
        ),
        v.say(f"[Prepare|Start with] the {first}[ and set {it} aside|, without hurry|]."),
        v.say(f"[Then comes the rest|Now the rest]: {others}."),
        v.say(f"[Taste it|Try a spoonful] and add {w.secret(dish)}."),
        v.say(
            f"[{minutes} minutes after you begin, it is ready.|It is done after {minutes} minutes in all.|"
            f"All in all it takes {minutes} minutes.]"
        ),
    ]
    rows = [
        v.say(f"{dish.name}, [the way we make it|as in our kitchen|the {w.surname} way]"),
        f"For {people} people, {minutes} minutes",
        "",
    ]
    rows += [f"- {amount}" for amount in amounts] + [""]
    rows += [f"{index}. {step}" for index, step in enumerate(steps, 1)]
    contains = sorted(dish.allergens)
    rows.append(f"\nContains: {', '.join(contains) if contains else 'none of the common allergens'}.")
    if hit := w.eaters_with(dish.allergens):
        who = listing([m.name for m in hit])
        rows.append(v.say(f"[Not for {who}!|{who} cannot eat this.|Make something else for {who}.]"))
    return "\n".join(rows)


def week_menu(v: Voice, w: World) -> str:
    rows = [v.say(f"[Menu of the week|What we eat this week|Dinners at the {w.surname} table|This week's dinners]")]
    style = v.number(0, 2)
    for day in DAYS:
        dish, cook = w.dinner(day), w.cook(day)
        rows.append(
            f"{day}: {dish.name} ({cook}, {w.minutes(dish)} minutes)"
            if style == 0
            else f"{day}: {dish.name}"
            if style == 1
            else v.say(f"On {day} [{cook} makes {dish.name}|there {dish.be} {dish.name}, cooked by {cook}].")
        )
    return "\n".join(rows)


def price_table(v: Voice, w: World) -> str:
    rows = [v.say("[What things cost|Prices, compared|Price list for our kitchen|Who is cheapest?]")]
    for item in v.sample(ITEMS, v.number(4, 9)):
        prices = ", ".join(f"{shop} {w.money(w.price(item, shop))}" for shop in w.shops)
        best = w.cheapest(item)
        rows.append(v.say(f"{item.packs()}: {prices}[.|. Best at {best}.|. Buy at {best}.|.]"))
    return "\n".join(rows)


def shop_page(v: Voice, w: World) -> str:
    shop = v.pick(w.shops)
    day, percent = w.offer_day(shop)
    street = w.street(shop)
    rows = [v.say(f"[{shop} is in {street}.|{shop}, {street}.|You find {shop} in {street}.]")]
    rows += [fact_hours(v, w, shop, d) for d in v.pick((DAYS, DAYS[::2], DAYS[4:]))]
    rows.append(v.say(f"On {day}s they take {percent} percent off."))
    rows += [fact_price(v, w, item, shop) for item in v.sample(ITEMS, v.number(2, 6))]
    return v.pick((" ", "\n")).join(rows)


def family_page(v: Voice, w: World) -> str:
    rows = [
        v.say(
            f"[We are the {w.surname} family|This is the {w.surname} household|"
            f"At home with the {w.surname} family]: {listing(w.names)}."
        )
    ]
    for m in w.members:
        dish = w.favourite(m)
        rows.append(
            v.say(
                f"[{m.name} celebrates on {m.birthday}|{m.name}'s birthday is on {m.birthday}|"
                f"The birthday of {m.name} is on {m.birthday}]"
                f"[, and then there {dish.be} always {dish.name}.|"
                f". The favourite dish of {m.name} is {dish.name}.|, and {m.name} loves {dish.name}.]"
                f"[ {m.name} is fond of {m.likes} but does not like {m.dislikes}.|"
                f" {m.name} does not like {m.dislikes}.| {m.name} likes {m.likes}.|]"
            )
        )
        if m.allergy or v.chance(0.4):
            rows.append(fact_allergy(v, w, m.name))
    cost = w.money(w.budget)
    rows.append(
        v.say(f"[We spend {cost} a week on food.|For food we have {cost} a week.|Our food budget is {cost} a week.|]")
    )
    return v.pick((" ", "\n")).join(rows).rstrip()


def pantry(v: Voice, w: World) -> str:
    rows = [v.say(f"[Where things are|Pantry, counted on {v.pick(DAYS)}|What we have|Stock in the kitchen]")]
    for item in v.sample(ITEMS, v.number(4, 9)):
        count = w.stock(item)
        kind = v.number(0, 2)
        rows.append(
            fact_place(v, w, item)
            if kind == 0
            else fact_stock(w, item)
            if kind == 1
            else f"{item.name}: {item.packs(count)}, {w.place(item)}."
            if count
            else f"{item.name}: none left, buy {w.brand(item)}."
        )
    return "\n".join(rows)


def note(v: Voice, w: World) -> str:
    writer, reader = v.sample(w.names, 2)
    day = v.pick(DAYS)
    dish, item, shop = w.dinner(day), v.pick(ITEMS), v.pick(w.shops)
    first = v.pick(dish.amounts).item.name
    shelf = w.place(item)
    cost = w.money(v.number(3, 60) * 50)
    middle = [
        v.say(
            f"[Tonight we have {dish.name}, so please|We are having {dish.name}. Please] [put out|get out]"
            f" the {first} when you come home."
        ),
        v.say(f"[The {item.name} {item.be} {shelf}.|If you look for the {item.name}: {shelf}.]"),
        v.say(
            f"[Could you bring|Would you buy|Can you get] {item.packs()} from {shop}? One {item.unit} [costs|"
            f"is] {w.money(w.price(item, shop))} there."
        ),
        v.say(f"The {dish.name} need{dish.s} {w.minutes(dish)} minutes, and do not forget {w.secret(dish)}."),
        v.say(f"I took {cost} from the food money for {shop}."),
        fact_hours(v, w, shop, day),
        fact_stock(w, item),
        fact_dinner(v, w, day),
        v.say(f"[Grandmother comes to dinner|We have a guest], so lay the table for {len(w.names) + 1}."),
    ]
    head = v.say(f"[Dear {reader},|Hi {reader},|{reader},|{reader}!]")
    foot = v.say(
        f"[Love, {writer}|See you tonight, {writer}|Thanks! {writer}|Back at {v.number(4, 8)}. {writer}|{writer}]"
    )
    return head + "\n" + " ".join(v.sample(middle, v.number(2, 4))) + "\n" + foot


def diary(v: Voice, w: World) -> str:
    day, member = v.pick(DAYS), v.pick(w.members)
    others = [m for m in w.members if m is not member]
    friend, dish, shop = v.pick(others), w.dinner(day), v.pick(w.shops)
    items = v.sample(ITEMS, v.number(2, 3))
    total = sum(w.price(item, shop) for item in items)
    hours = w.hours(shop, day)
    rows = [
        v.say(
            f"{day}.[ It rained all morning.| A bright, cold day.| Nobody wanted to get up.|"
            " The kitchen smelled of coffee early.| Wind in the yard.]"
        )
    ]
    if hours:
        bought = listing([item.packs() for item in items])
        cost = w.money(total)
        rows.append(
            v.say(
                f"[I went|{friend.name} and I walked|We went] to {shop} in {w.street(shop)}[, which opens at "
                f"{hours[0]},|, open until {hours[1]} today,|] and [bought|came home with] {bought}"
                f"[, {cost} in all|. It came to {cost}|. We paid {cost}]."
            )
        )
    else:
        rows.append(
            v.say(
                f"[{friend.name} wanted to go|I walked all the way]"
                f" to {shop} in {w.street(shop)}, but on {day}s it is closed."
            )
        )
    minutes = w.minutes(dish)
    rows.append(
        v.say(
            f"[In the evening|At night|Later] {w.cook(day)} made {dish.name}[ with {w.secret(dish)}|]"
            f"[, which took {minutes} minutes|, {minutes} minutes of work|]"
            "[.|. Everyone was quiet for a while.|. There was nothing left in the pot.]"
        )
    )
    hit = w.eaters_with(dish.allergens)
    if hit:
        what = listing(sorted({c for m in hit for c in dish.culprits(m.allergy)}))
        rows.append(v.say(f"{listing([m.name for m in hit])} got something else, because of the {what}."))
    elif w.favourite(friend) == dish:
        rows.append(v.say(f"{friend.name} had two helpings: it is {friend.name}'s favourite."))
    next_day = DAYS[(DAYS.index(day) + 1) % 7]
    next_dish = w.dinner(next_day)
    rows.append(v.say(f"[Tomorrow|On {next_day}] [there {next_dish.be}|we have] {next_dish.name}."))
    return " ".join(rows)


def messages(v: Voice, w: World) -> str:
    """Text messages between two family members, one of them at the shop."""
    home, out = v.sample(w.names, 2)
    shop, items = v.pick(w.shops), v.sample(ITEMS, v.number(2, 3))
    total = sum(w.price(item, shop) for item in items)
    wanted = listing([item.packs() for item in items])
    rows = [
        f"{out}: "
        + v.say(
            f"[I am at {shop}.|Just arrived at {shop}.|Standing in {shop} now.] [What do we need?|"
            "Anything we need?|What shall I bring?]"
        ),
        f"{home}: " + v.say(f"{wanted}[, please|]."),
    ]
    item = items[0]
    if item.kind in ("dry", "fridge") and v.chance(0.5):
        brand = w.brand(item)
        rows += [
            f"{out}: " + v.say(f"Which {item.name}[| again]?"),
            f"{home}: " + v.say(f"[{brand}, as always.|{brand}.|The usual, {brand}.]"),
        ]
    if v.chance(0.6):
        best = w.cheapest(item)
        rows.append(f"{out}: " + v.say(f"{item.packs()} is {w.money(w.price(item, shop))} here."))
        rows.append(
            f"{home}: "
            + (
                v.say("[Good, that is the best price we know.|Fine, nobody is cheaper.]")
                if best == shop
                else v.say(f"At {best} it is only {w.money(w.price(item, best))}[, but take it|. Take it anyway|].")
            )
        )
    if v.chance(0.5):
        rows += [
            f"{out}: " + v.say(f"Do we still have {items[1].name} at home?"),
            f"{home}: " + fact_stock(w, items[1]),
        ]
    cost = w.money(total)
    rows.append(
        f"{out}: " + v.say(f"[{cost} in all.|Done, {cost}.|Paid {cost}, on my way.|That was {cost}. Home soon.]")
    )
    return "\n".join(rows)


PAGES: tuple[Callable[[Voice, World], str], ...] = (
    receipt,
    shopping_list,
    recipe,
    week_menu,
    price_table,
    shop_page,
    family_page,
    pantry,
    note,
    note,
    diary,
    diary,
    messages,
    messages,
)
