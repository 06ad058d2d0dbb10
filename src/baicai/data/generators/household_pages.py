"""Papers that lie around in a household: lists, receipts, recipes, notes, pages of a diary."""

from collections.abc import Callable
from fractions import Fraction

from baicai.data.generators.household_talk import (
    ITEMS,
    fact_allergy,
    fact_dinner,
    fact_hours,
    fact_place,
    fact_price,
    fact_stock,
)
from baicai.data.generators.household_world import DAYS, World
from baicai.data.generators.phrasing import Voice, listing


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
    return f"{head}\n\n" + "\n".join(lines) + "\n\n" + v.say(
        "[Thank you for shopping with us!|Please keep this receipt.|See you soon!|You were served by {who}.|Goods can be returned within seven days.]",
        who=v.pick(("Dana", "Ravi", "Ute", "Pascal", "Ming")))


def shopping_list(v: Voice, w: World) -> str:
    shop, day = v.pick(w.shops), v.pick(DAYS)
    rows, total = [], 0
    for item in v.sample(ITEMS, v.number(3, 8)):
        count = v.pick((1, 1, 2, 2, 3))
        total += count * w.price(item, shop)
        who = v.pick(w.names)
        note = v.words("[|||| ({brand}, not another one)| for {who}| if they have {it}| (about {cost})]", brand=w.brand(item), who=who,
                       it="them" if item.plural else "it", cost=w.money(count * w.price(item, shop)))
        rows.append(f"- {item.packs(count)}{note}")
    head = v.say("[Shopping list for {day}|To buy at {shop}|{shop}, {day}|We need from {shop}]:", shop=shop, day=day)
    foot = v.say("[|That should be {total}.|Take {total} with you.|All together {total} at {shop}.]", total=w.money(total), shop=shop)
    return "\n".join([head, *rows, foot]).rstrip()


def recipe(v: Voice, w: World) -> str:
    dish, people = v.pick(w.dishes), v.pick((4, 4, 4, 2, 6, 8))
    amounts = [amount.scaled(Fraction(people, 4)) for amount in dish.amounts]
    names = [amount.item.name for amount in amounts]
    first, others = names[0], listing(names[1:])
    minutes = w.minutes(dish)
    steps = [
        v.say("[Get everything out first.|Wash your hands and put on an apron.|Put everything on the table.|Read this to the end before you start.]"),
        v.say("[Prepare|Start with] the {first}[ and set {it} aside|, without hurry|].", first=first, it="them" if amounts[0].item.plural else "it"),
        v.say("[Then comes the rest|Now the rest]: {others}.", others=others),
        v.say("[Taste it|Try a spoonful] and add {secret}.", secret=w.secret(dish)),
        v.say("[{n} minutes after you begin, it is ready.|It is done after {n} minutes in all.|All in all it takes {n} minutes.]", n=minutes),
    ]
    rows = [v.say("{dish}, [the way we make it|as in our kitchen|the {s} way]", dish=dish.name, s=w.surname), f"For {people} people, {minutes} minutes", ""]
    rows += [f"- {amount}" for amount in amounts] + [""]
    rows += [f"{index}. {step}" for index, step in enumerate(steps, 1)]
    contains = sorted(dish.allergens)
    rows.append(f"\nContains: {', '.join(contains) if contains else 'none of the common allergens'}.")
    if hit := w.eaters_with(dish.allergens):
        rows.append(v.say("[Not for {who}!|{who} cannot eat this.|Make something else for {who}.]", who=listing([m.name for m in hit])))
    return "\n".join(rows)


def week_menu(v: Voice, w: World) -> str:
    rows = [v.say("[Menu of the week|What we eat this week|Dinners at the {s} table|This week's dinners]", s=w.surname)]
    style = v.number(0, 2)
    for day in DAYS:
        dish, cook = w.dinner(day), w.cook(day)
        rows.append(f"{day}: {dish.name} ({cook}, {w.minutes(dish)} minutes)" if style == 0 else f"{day}: {dish.name}" if style == 1
                    else v.say("On {day} [{cook} makes {dish}|there {be} {dish}, cooked by {cook}].", day=day, cook=cook, dish=dish.name, be=dish.be))
    return "\n".join(rows)


def price_table(v: Voice, w: World) -> str:
    rows = [v.say("[What things cost|Prices, compared|Price list for our kitchen|Who is cheapest?]")]
    for item in v.sample(ITEMS, v.number(4, 9)):
        prices = ", ".join(f"{shop} {w.money(w.price(item, shop))}" for shop in w.shops)
        rows.append(v.say("{pack}: {prices}[.|. Best at {best}.|. Buy at {best}.|.]", pack=item.packs(), prices=prices, best=w.cheapest(item)))
    return "\n".join(rows)


def shop_page(v: Voice, w: World) -> str:
    shop = v.pick(w.shops)
    day, percent = w.offer_day(shop)
    rows = [v.say("[{shop} is in {street}.|{shop}, {street}.|You find {shop} in {street}.]", shop=shop, street=w.street(shop))]
    rows += [fact_hours(v, w, shop, d) for d in v.pick((DAYS, DAYS[::2], DAYS[4:]))]
    rows.append(v.say("On {day}s they take {p} percent off.", day=day, p=percent))
    rows += [fact_price(v, w, item, shop) for item in v.sample(ITEMS, v.number(2, 6))]
    return v.pick((" ", "\n")).join(rows)


def family_page(v: Voice, w: World) -> str:
    rows = [v.say("[We are the {s} family|This is the {s} household|At home with the {s} family]: {all}.", s=w.surname, all=listing(w.names))]
    for m in w.members:
        rows.append(v.say(
            "[{name} celebrates on {day}|{name}'s birthday is on {day}|The birthday of {name} is on {day}]"
            "[, and then there is always {dish}.|. The favourite dish of {name} is {dish}.|, and {name} loves {dish}.]"
            "[ {name} is fond of {likes} but does not like {dislikes}.| {name} does not like {dislikes}.| {name} likes {likes}.|]",
            name=m.name, day=m.birthday, dish=w.favourite(m).name, likes=m.likes, dislikes=m.dislikes).replace(
                f"there is always {w.favourite(m).name}", f"there {w.favourite(m).be} always {w.favourite(m).name}"))
        if m.allergy or v.chance(0.4):
            rows.append(fact_allergy(v, w, m.name))
    rows.append(v.say("[We spend {b} a week on food.|For food we have {b} a week.|Our food budget is {b} a week.|]", b=w.money(w.budget)))
    return v.pick((" ", "\n")).join(rows).rstrip()


def pantry(v: Voice, w: World) -> str:
    rows = [v.say("[Where things are|Pantry, counted on {day}|What we have|Stock in the kitchen]".replace("{day}", v.pick(DAYS)))]
    for item in v.sample(ITEMS, v.number(4, 9)):
        count = w.stock(item)
        kind = v.number(0, 2)
        rows.append(fact_place(v, w, item) if kind == 0 else fact_stock(w, item) if kind == 1 else
                    f"{item.name}: {item.packs(count) if count else 'none left'}, {w.place(item)}." if count else
                    f"{item.name}: none left, buy {w.brand(item)}.")
    return "\n".join(rows)


def note(v: Voice, w: World) -> str:
    writer, reader = v.sample(w.names, 2)
    day = v.pick(DAYS)
    dish, item, shop = w.dinner(day), v.pick(ITEMS), v.pick(w.shops)
    middle = [
        v.say("[Tonight we have {dish}, so please|We are having {dish}. Please] [put out|get out] the {first} when you come home.", dish=dish.name, first=v.pick(dish.amounts).item.name),
        v.say("[The {name} {be} {place}.|If you look for the {name}: {place}.]", name=item.name, be=item.be, place=w.place(item)),
        v.say("[Could you bring|Would you buy|Can you get] {pack} from {shop}? One {unit} [costs|is] {cost} there.", pack=item.packs(), shop=shop, unit=item.unit, cost=w.money(w.price(item, shop))),
        v.say("The {dish} need{s} {n} minutes, and do not forget {secret}.", dish=dish.name, s=dish.s, n=w.minutes(dish), secret=w.secret(dish)),
        v.say("I took {cost} from the food money for {shop}.", cost=w.money(v.number(3, 60) * 50), shop=shop),
        fact_hours(v, w, shop, day), fact_stock(w, item), fact_dinner(v, w, day),
        v.say("[Grandmother comes to dinner|We have a guest], so lay the table for {n}.", n=len(w.names) + 1),
    ]
    head = v.say("[Dear {r},|Hi {r},|{r},|{r}!]", r=reader)
    foot = v.say("[Love, {n}|See you tonight, {n}|Thanks! {n}|Back at {h}. {n}|{n}]", n=writer, h=v.number(4, 8))
    return head + "\n" + " ".join(v.sample(middle, v.number(2, 4))) + "\n" + foot


def diary(v: Voice, w: World) -> str:
    day, member = v.pick(DAYS), v.pick(w.members)
    others = [m for m in w.members if m is not member]
    friend, dish, shop = v.pick(others), w.dinner(day), v.pick(w.shops)
    items = v.sample(ITEMS, v.number(2, 3))
    total = sum(w.price(item, shop) for item in items)
    hours = w.hours(shop, day)
    rows = [v.say("{day}.[ It rained all morning.| A bright, cold day.| Nobody wanted to get up.| The kitchen smelled of coffee early.| Wind in the yard.]", day=day)]
    if hours:
        rows.append(v.say(
            "[I went|{f} and I walked|We went] to {shop} in {street}[, which opens at {a},|, open until {b} today,|] and [bought|came home with] {all}"
            "[, {total} in all|. It came to {total}|. We paid {total}].", f=friend.name, shop=shop, street=w.street(shop), a=hours[0], b=hours[1],
            all=listing([item.packs() for item in items]), total=w.money(total)))
    else:
        rows.append(v.say("[{f} wanted to go|I walked all the way] to {shop} in {street}, but on {day}s it is closed.", f=friend.name, shop=shop, street=w.street(shop), day=day))
    rows.append(v.say("[In the evening|At night|Later] {cook} made {dish}[ with {secret}|][, which took {n} minutes|, {n} minutes of work|]"
                      "[.|. Everyone was quiet for a while.|. There was nothing left in the pot.]", cook=w.cook(day), dish=dish.name, secret=w.secret(dish), n=w.minutes(dish)))
    hit = w.eaters_with(dish.allergens)
    if hit:
        rows.append(v.say("{who} got something else, because of the {what}.", who=listing([m.name for m in hit]), what=listing(sorted({c for m in hit for c in dish.culprits(m.allergy)}))))
    elif w.favourite(friend) == dish:
        rows.append(v.say("{f} had two helpings: it is {f}'s favourite.", f=friend.name))
    rows.append(v.say("[Tomorrow|On {next}] [there {be}|we have] {dish}.", next=DAYS[(DAYS.index(day) + 1) % 7], dish=w.dinner(DAYS[(DAYS.index(day) + 1) % 7]).name, be=w.dinner(DAYS[(DAYS.index(day) + 1) % 7]).be))
    return " ".join(rows)


def messages(v: Voice, w: World) -> str:
    """Two of the family writing to each other, one of them at the shop."""
    h, o = v.sample(w.names, 2)
    shop, items = v.pick(w.shops), v.sample(ITEMS, v.number(2, 3))
    total = sum(w.price(item, shop) for item in items)
    rows = [f"{o}: " + v.say("[I am at {shop}.|Just arrived at {shop}.|Standing in {shop} now.] [What do we need?|Anything we need?|What shall I bring?]", shop=shop),
            f"{h}: " + v.say("{all}[, please|].", all=listing([item.packs() for item in items]))]
    item = items[0]
    if item.kind in ("dry", "fridge") and v.chance(0.5):
        rows += [f"{o}: " + v.say("Which {name}[| again]?", name=item.name), f"{h}: " + v.say("[{b}, as always.|{b}.|The usual, {b}.]", b=w.brand(item))]
    if v.chance(0.6):
        best = w.cheapest(item)
        rows.append(f"{o}: " + v.say("{pack} is {cost} here.", pack=item.packs(), cost=w.money(w.price(item, shop))))
        rows.append(f"{h}: " + (v.say("[Good, that is the best price we know.|Fine, nobody is cheaper.]") if best == shop else
                               v.say("At {best} it is only {cost}[, but take it|. Take it anyway|].", best=best, cost=w.money(w.price(item, best)))))
    if v.chance(0.5):
        rows += [f"{o}: " + v.say("Do we still have {name} at home?", name=items[1].name), f"{h}: " + fact_stock(w, items[1])]
    rows.append(f"{o}: " + v.say("[{total} in all.|Done, {total}.|Paid {total}, on my way.|That was {total}. Home soon.]", total=w.money(total)))
    return "\n".join(rows)


PAGES: tuple[Callable[[Voice, World], str], ...] = (
    receipt, shopping_list, recipe, week_menu, price_table, shop_page, family_page, pantry, note, note, diary, diary, messages, messages)
