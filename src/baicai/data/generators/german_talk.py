"""Was man zu Hause und im Büro fragt: questions and answers of everyday German."""

from collections.abc import Callable

from baicai.data.generators.german_world import (
    ALL_ITEMS,
    DAYS,
    DUTY,
    MEETING,
    TOOL,
    WASTE,
    Dish,
    Item,
    Noun,
    Person,
    Relative,
    World,
    clock,
    euro,
)
from baicai.data.generators.phrasing import Turn, Voice, listing


def joined(parts: list[str]) -> str:
    return listing(parts, " und ")


def fact_price(v: Voice, w: World, item: Item, shop: str) -> str:
    return v.say("[{p} kostet bei {s} {c}.|Bei {s} kostet {p} {c}.|{s} verkauft {pa} für {c}.]", p=item.packs(case="nom"), pa=item.packs(), s=shop, c=euro(w.price(item, shop)))


def fact_hours(v: Voice, w: World, shop: str, day: str) -> str:
    hours = w.hours(shop, day)
    if hours is None:
        return v.say("[{s} hat am {d} geschlossen.|Am {d} ist {s} zu.|Am {d} macht {s} nicht auf.]", s=shop, d=day)
    return v.say("[{s} hat am {d} von {a} bis {b} Uhr geöffnet.|Am {d} öffnet {s} um {a} Uhr und schließt um {b} Uhr.|{s}, {d}: {a} bis {b} Uhr.]", s=shop, d=day, a=hours[0], b=hours[1])


def fact_place(v: Voice, w: World, item: Item) -> str:
    return v.say("[{n} {be} {p}.|{n} [findest du|findet man] {p}.|Wir bewahren {na} {p} auf.]", n=item.noun.form("def", "nom"), na=item.noun.form("def", "akk"), be=item.noun.be, p=w.place(item))


def fact_dinner(v: Voice, w: World, day: str) -> str:
    return v.say("[Am {d} gibt es {x}.|Am {d} essen wir {x}.|{d}: {x}.]", d=day, x=w.dinner(day).name)


def fact_recipe(w: World, dish: Dish) -> str:
    return f"Für {dish.noun.form('def', 'akk')} (vier Personen) braucht man {joined([part.times(4) for part in dish.parts])}."


def fact_relative(v: Voice, person: Relative) -> str:
    if person.intolerance:
        return v.say("[{n} verträgt {i}.|{n} darf {i} zu sich nehmen.|Bitte daran denken: {n} verträgt {i}.]", n=person.name, i=person.intolerance)
    return v.say("[{n} verträgt alles.|{n} kann alles essen.|Bei {n} muss man auf nichts achten.]", n=person.name)


def fact_minutes(w: World, dish: Dish) -> str:
    return f"Für {dish.noun.form('def', 'akk')} brauchen wir {w.minutes(dish)} Minuten."


def fact_waste(v: Voice, w: World, waste: str) -> str:
    day = w.waste_day(waste)
    noun = Noun(waste, WASTE[waste]).form("def", "nom")
    return v.say("[{n} wird am {d} abgeholt.|Am {d} wird {n} abgeholt.|Am {d} kommt die Abfuhr für {na}.]", n=noun, d=day, na=Noun(waste, WASTE[waste]).form("def", "akk"))


def fact_laundry(v: Voice, w: World, who: Person) -> str:
    return v.say("[Am {d} wäscht {n}.|Die Waschküche gehört am {d} {o}.|{n} hat am {d} Waschtag.]", d=w.laundry_day(who), n=who.name, o=who.oblique)


def fact_floor(v: Voice, w: World, who: Person) -> str:
    return v.say("[{n} wohnt {f}.|{F} wohnt {n}.]", n=who.name, f=w.floor(who), F=w.floor(who))


def fact_room(v: Voice, w: World, who: Person) -> str:
    return v.say("[{n} sitzt in Zimmer {r}.|Zimmer {r}: {n}.|In Zimmer {r} arbeitet {n}.]", n=who.name, r=w.room(who))


def fact_duty(v: Voice, w: World, duty: Noun) -> str:
    return v.say("[{n} kümmert sich um {x}.|Für {x} ist {n} zuständig.|Um {x} kümmert sich {n}.]", n=w.duty_of(duty).name, x=duty.form("def", "akk"))


def fact_meeting(v: Voice, w: World, meeting: Noun) -> str:
    day, start, length, who = w.appointment(meeting)
    return v.say("[{m} mit {o} ist am {d} um {t} und dauert {l} Minuten.|Am {d} um {t} beginnt {m} mit {o}, Dauer {l} Minuten.]", m=meeting.form("def", "nom"), o=who.oblique, d=day, t=clock(start), l=length)


def ask_price(v: Voice, w: World) -> Turn:
    item, shop = v.pick(ALL_ITEMS), v.pick(w.shops)
    cost = euro(w.price(item, shop))
    values = {"p": item.packs(case="nom"), "pa": item.packs(), "s": shop, "c": cost}
    question = v.say("[Was kostet {p} bei {s}?|Wie teuer ist {p} bei {s}?|Wie viel kostet {p} bei {s}?|Was zahle ich bei {s} für {pa}?|Weißt du, was {p} bei {s} kostet?]", **values)
    answer = v.say("[{c}.|{p} kostet dort {c}.|Das kostet {c}.|Bei {s} kostet {p} {c}.|Du zahlst {c}.]", **values)
    return Turn(question, answer, (fact_price(v, w, item, shop),), cost.removesuffix(" Euro"))


def ask_cheapest(v: Voice, w: World) -> Turn:
    item = v.pick(ALL_ITEMS)
    best = w.cheapest(item)
    others = [f"{shop} verlangt {euro(w.price(item, shop))}" for shop in w.shops if shop != best]
    question = v.say("[Wo ist {n} am billigsten?|Welcher Laden hat {na} am günstigsten?|Wo bekomme ich {pa} für das wenigste Geld?|Wo soll ich {na} kaufen?]",
                     n=item.noun.word, na=item.noun.word, pa=item.packs()).replace(f"ist {item.name}", f"{item.noun.be} {item.name}")
    answer = v.say("[Bei {b}, dort kostet {p} {c}.|Am günstigsten ist {b} mit {c}.|{b} ist am billigsten: {c}.|Geh zu {b}, da zahlst du {c}.][| {o}.]",
                   b=best, p=item.packs(case="nom"), c=euro(w.price(item, best)), o=joined(others))
    return Turn(question, answer, tuple(fact_price(v, w, item, shop) for shop in w.shops), best)


def ask_hours(v: Voice, w: World) -> Turn:
    shop, day = v.pick(w.shops), v.pick(DAYS)
    hours = w.hours(shop, day)
    question = v.say("[Wann hat {s} am {d} offen?|Wie lange hat {s} am {d} geöffnet?|Hat {s} am {d} auf?|Kann ich am {d} zu {s} gehen?|Welche Öffnungszeiten hat {s} am {d}?]", s=shop, d=day)
    if hours is None:
        answer = v.say("[Am {d} ist {s} geschlossen.|Gar nicht, am {d} ist zu.|Am {d} hat {s} zu.]", s=shop, d=day)
        if question.startswith(("Hat", "Kann")):
            answer = answer.replace("Gar nicht", "Nein")
        return Turn(question, answer, (fact_hours(v, w, shop, day),))
    answer = v.say("[Von {a} bis {b} Uhr.|{s} hat am {d} von {a} bis {b} Uhr geöffnet.|Am {d} von {a} Uhr bis {b} Uhr.]", s=shop, d=day, a=hours[0], b=hours[1])
    if question.startswith(("Hat", "Kann")):
        answer = "Ja, " + answer[0].lower() + answer[1:] if not answer.startswith(shop) else "Ja. " + answer
    return Turn(question, answer, (fact_hours(v, w, shop, day),), f"{hours[1]} Uhr")


def ask_place(v: Voice, w: World) -> Turn:
    item = v.pick(ALL_ITEMS)
    values = {"n": item.noun.form("def", "nom"), "na": item.noun.form("def", "akk"), "be": item.noun.be, "p": w.place(item),
              "pn": item.noun.pronoun, "pa": item.noun.pronoun_akk}
    question = v.say("[Wo {be} {n}?|Wo finde ich {na}?|Ich finde {na} nicht. Wo {be} {pn}?|Wo bewahren wir {na} auf?|Hast du {na} gesehen?]", **values)
    answer = v.say("[{p}.|{n} {be} {p}.|Schau mal {p}.|Du findest {pa} {p}.]" if not question.startswith("Hast") else "[Ja, {p}.|{n} {be} {p}.|Schau mal {p} nach.]", **values)
    return Turn(question, answer, (fact_place(v, w, item),), w.place(item).split(" ", 1)[1])


def ask_total(v: Voice, w: World) -> Turn:
    shop = v.pick(w.shops)
    basket = [(item, v.pick((1, 1, 2, 3))) for item in v.sample(ALL_ITEMS, v.number(2, 3))]
    total = sum(count * w.price(item, shop) for item, count in basket)
    wanted = joined([item.packs(count) for item, count in basket])
    question = v.say("[Ich brauche {w}. Was kostet das bei {s} zusammen?|Was zahle ich bei {s} für {w}?|Wie viel Geld brauche ich bei {s} für {w}?|Rechne bitte aus, was {s} für {w} verlangt.]", w=wanted, s=shop)
    parts = ", ".join(f"{item.name} {euro(w.price(item, shop))}" if count == 1 else f"{item.name} {count} mal {euro(w.price(item, shop))}, das sind {euro(count * w.price(item, shop))}" for item, count in basket)
    answer = v.say("{p}. [Zusammen sind das {t}.|Das macht {t}.|Insgesamt kostet das {t}.|Die Summe ist {t}.]", p=parts, t=euro(total))
    if v.chance(0.3):
        note = next(note for note in (1000, 2000, 5000, 10000) if note > total)
        question += f" Wie viel bekomme ich auf {note // 100} Euro zurück?"
        answer += v.say(" [Auf {n} Euro bekommst du {c} zurück.|Das Rückgeld beträgt {c}.|Du bekommst {c} zurück.]", n=note // 100, c=euro(note - total))
    return Turn(question, answer, tuple(fact_price(v, w, item, shop) for item, _ in basket), euro(total).removesuffix(" Euro"))


def ask_waste(v: Voice, w: World) -> Turn:
    waste = v.pick(tuple(WASTE))
    noun = Noun(waste, WASTE[waste])
    day = w.waste_day(waste)
    before = DAYS[DAYS.index(day) - 1]
    if v.chance(0.4):
        question = v.say("[Wann muss ich {na} rausstellen?|Wann kommt {n} an die Straße?]", n=noun.form("def", "nom"), na=noun.form("def", "akk"))
        answer = v.say("[Am {b}abend, denn am {d} wird abgeholt.|Am Abend vorher, also am {b}: Abholung ist am {d}.]", b=before, d=day)
    else:
        question = v.say("[Wann wird {n} abgeholt?|An welchem Tag wird {n} abgeholt?|An welchem Tag muss {n} raus?]", n=noun.form("def", "nom"), na=noun.form("def", "akk"))
        answer = v.say("[Am {d}.|Immer am {d}.|{n} wird am {d} abgeholt.]", n=noun.form("def", "nom"), d=day)
    return Turn(question, answer, (fact_waste(v, w, waste),), day)


def ask_laundry(v: Voice, w: World) -> Turn:
    who = v.pick(w.neighbours)
    day = w.laundry_day(who)
    if v.chance(0.5):
        question = v.say("[Wer hat am {d} Waschtag?|Wer darf am {d} in die Waschküche?|Wem gehört die Waschküche am {d}?]", d=day)
        answer = v.say("[{o}, {f}.|Am {d} gehört sie {o}.]" if question.startswith("Wem") else "[{n}.|Am {d} wäscht {n}.|Das ist {n}.]", n=who.name, o=who.oblique, d=day, f=w.floor(who))
        return Turn(question, answer, (fact_laundry(v, w, who), fact_floor(v, w, who)), who.surname)
    question = v.say("[Wann hat {n} Waschtag?|An welchem Tag wäscht {n}?|Wann ist {n} mit der Waschküche an der Reihe?]", n=who.name)
    answer = v.say("[Am {d}.|{n} wäscht am {d}.|Am {d} ist {n} dran.]", n=who.name, d=day)
    return Turn(question, answer, (fact_laundry(v, w, who),), day)


def ask_quiet(v: Voice, w: World) -> Turn:
    noon, end, night, morning = w.quiet
    fact = f"Mittagsruhe ist von {noon} bis {end} Uhr, Nachtruhe von {night} bis {morning} Uhr."
    kind = v.number(0, 2)
    if kind == 0:
        question = v.say("[Wann ist Mittagsruhe?|Von wann bis wann ist Mittagsruhe im Haus?|Wann soll es mittags leise sein?]")
        return Turn(question, v.say("[Von {a} bis {b} Uhr.|Die Mittagsruhe dauert von {a} bis {b} Uhr.|Zwischen {a} und {b} Uhr.]", a=noon, b=end), (fact,), f"{end} Uhr")
    if kind == 1:
        question = v.say("[Ab wann gilt die Nachtruhe?|Wann beginnt die Nachtruhe?|Bis wann darf ich abends Musik machen?]")
        answer = v.say("[Bis {a} Uhr.|Bis {a} Uhr, dann ist Ruhe bis {b} Uhr.|Bis {a} Uhr, dann beginnt die Nachtruhe.]" if question.startswith("Bis") else
                       "[Ab {a} Uhr.|Um {a} Uhr beginnt die Nachtruhe.|Ab {a} Uhr, und sie gilt bis {b} Uhr.]", a=night, b=morning)
        return Turn(question, answer, (fact,), f"{night} Uhr")
    hour = v.number(7, 23)
    tool = v.pick(("bohren", "staubsaugen", "Klavier spielen", "den Rasen mähen", "hämmern", "Musik hören"))
    question = f"Darf ich um {hour} Uhr {tool}?"
    if noon <= hour < end:
        answer = v.say("[Nein, da ist Mittagsruhe.|Bitte nicht: Mittagsruhe ist von {a} bis {b} Uhr.]", a=noon, b=end)
    elif hour >= night or hour < morning:
        answer = v.say("[Nein, ab {a} Uhr ist Nachtruhe.|Das geht nicht, die Nachtruhe gilt ab {a} Uhr.]", a=night)
    else:
        answer = v.say("[Ja, um {h} Uhr ist keine Ruhezeit.|Ja, das geht.|Ja, die nächste Ruhezeit beginnt um {n} Uhr.]", h=hour, n=noon if hour < noon else night)
    return Turn(question, answer, (fact,))


def ask_floor(v: Voice, w: World) -> Turn:
    who = v.pick(w.neighbours)
    if v.chance(0.3):
        question = v.say("[Wer wohnt {f}?|Wie heißt der Nachbar oder die Nachbarin {f}?]", f=w.floor(who))
        answer = v.say("[{n}.|{F} wohnt {n}.|Dort wohnt {n}.]", n=who.name, F=w.floor(who))
        return Turn(question, answer, (fact_floor(v, w, who),), who.surname)
    question = v.say("[Wo wohnt {n}?|In welchem Stock finde ich {o}?|Wo muss ich bei {o} klingeln?]", n=who.name, o=who.oblique)
    return Turn(question, v.say("[{f}.|{n} wohnt {f}.|Du findest {o} {f}.]", f=w.floor(who), n=who.name, o=who.oblique), (fact_floor(v, w, who),), w.floor(who).split(" ", 1)[1])


def ask_tool(v: Voice, w: World) -> Turn:
    tool = v.pick(TOOL)
    owner = w.owner(tool)
    values = {"e": tool.form("ein", "akk"), "k": tool.form("kein", "akk"), "n": owner.name, "o": owner.oblique, "f": w.floor(owner), "pa": tool.pronoun_akk, "d": tool.form("def", "akk")}
    question = v.say("[Wer kann mir {e} leihen?|Ich brauche {e}. Wer im Haus hat so etwas?|Wir haben {k}. Wen kann ich fragen?|Von wem leihen wir uns {d}?]", **values)
    answer = v.say("[Frag {o}.|{n} hat {e}.|Bei {o} {f}.|Klingel bei {o}, {f}.|{n} leiht dir {pa} gern.]" if not question.startswith("Von") else "[Von {o}.|Von {o}, {f}.|{d} leihen wir uns von {o}.]", **values)
    return Turn(question, answer, (f"{owner.name} hat {tool.form('ein', 'akk')}.", fact_floor(v, w, owner)), owner.surname)


def ask_key(v: Voice, w: World) -> Turn:
    who = w.key_holder
    question = v.say("[Bei wem liegt unser Ersatzschlüssel?|Ich habe mich ausgesperrt. Wer hat den Ersatzschlüssel?|Wem haben wir den Ersatzschlüssel gegeben?]")
    answer = v.say("[{o}, {f}.|Wir haben ihn {o} gegeben.]" if question.startswith("Wem") else "[Bei {o}.|Der Schlüssel liegt bei {o} {f}.]" if question.startswith("Bei") else "[{n} hat ihn.|{n}, {f}.|{n}. Klingel {f}.]", o=who.oblique, n=who.name, f=w.floor(who))
    return Turn(question, answer, (f"Unser Ersatzschlüssel liegt bei {who.oblique}.", fact_floor(v, w, who)), who.surname)


def ask_room(v: Voice, w: World) -> Turn:
    who = v.pick(w.colleagues)
    question = v.say("[In welchem Zimmer sitzt {n}?|Wo finde ich {o}?|In welches Zimmer muss ich zu {o}?|Wo ist das Büro von {o}?]", n=who.name, o=who.oblique)
    return Turn(question, v.say("[In Zimmer {r}.|Zimmer {r}.|{n} sitzt in Zimmer {r}.|Geh bitte in Zimmer {r}.]", r=w.room(who), n=who.name), (fact_room(v, w, who),), str(w.room(who)))


def ask_duty(v: Voice, w: World) -> Turn:
    duty = v.pick(DUTY)
    who = w.duty_of(duty)
    question = v.say("[Wer ist für {x} zuständig?|Wer kümmert sich um {x}?|Ich habe eine Frage, es geht um {x}. Mit wem spreche ich?]", x=duty.form("def", "akk"))
    answer = v.say("[Mit {o}.|Mit {o} in Zimmer {r}.]" if "Mit wem" in question else "[{n}.|{n} in Zimmer {r}.|Das macht {n}.|Dafür ist {n} zuständig.]", n=who.name, o=who.oblique, r=w.room(who))
    return Turn(question, answer, (fact_duty(v, w, duty), fact_room(v, w, who)), who.surname)


def ask_meeting(v: Voice, w: World) -> Turn:
    meeting = v.pick(MEETING)
    day, start, length, who = w.appointment(meeting)
    values = {"m": meeting.form("def", "nom"), "ma": meeting.form("def", "akk"), "d": day, "t": clock(start), "e": clock(start + length), "l": length, "o": who.oblique, "u": meeting.form("unser", "nom")}
    kind = v.number(0, 2)
    if kind == 0:
        question = v.say("[Wann ist {m}?|Wann findet {m} statt?|Um wie viel Uhr ist {u} am {d}?|Wann habe ich {ma} mit {o}?]", **values)
        return Turn(question, v.say("[Am {d} um {t}.|{m} ist am {d} um {t}.|Am {d}, {t}.]", **values), (fact_meeting(v, w, meeting),), clock(start))
    if kind == 1:
        question = v.say("[Wann ist {m} am {d} zu Ende?|Bis wann dauert {m}?|Wann bin ich nach {md} wieder frei?]", md=meeting.form("def", "dat"), **values)
        return Turn(question, v.say("[{m} beginnt um {t} und dauert {l} Minuten, also bis {e}.|Um {e}, denn {p} beginnt um {t} und dauert {l} Minuten.|Um {e}.]", p=meeting.pronoun, **values), (fact_meeting(v, w, meeting),), clock(start + length))
    question = v.say("[Mit wem ist {m} am {d}?|Mit wem habe ich am {d} um {t} einen Termin?|Wer kommt am {d} um {t}?]", **values)
    answer = v.say("[{n}.|{n} kommt.|Es kommt {n}.]" if question.startswith("Wer") else "[Mit {o}.|Mit {o}, um {t}.|{m} ist mit {o}.]", n=who.name, **values)
    return Turn(question, answer, (fact_meeting(v, w, meeting),), who.surname)


def ask_deputy(v: Voice, w: World) -> Turn:
    who = v.pick(w.colleagues)
    other = w.deputy(who)
    question = v.say("[Wer vertritt {o}?|{n} ist im Urlaub. An wen wende ich mich?|{n} ist heute krank. Wer übernimmt?|Wer ist die Vertretung von {o}?]", n=who.name, o=who.oblique)
    answer = v.say("[An {o}.|Wende dich an {o}.]" if "An wen" in question else "[{n}.|{n} übernimmt das.|Das ist {n} in Zimmer {r}.]", n=other.name, o=other.oblique, r=w.room(other))
    return Turn(question, answer, (f"{who.name} wird von {other.oblique} vertreten.", fact_room(v, w, other)), other.surname)


def ask_dinner(v: Voice, w: World) -> Turn:
    day = v.pick(DAYS)
    dish = w.dinner(day)
    if v.chance(0.3):
        question = v.say("[Wann gibt es {x}?|An welchem Tag essen wir {x}?|Wann steh{t} {x} auf dem Speiseplan?]", x=dish.name, t="en" if dish.noun.plural else "t")
        return Turn(question, v.say("[Am {d}.|Am {d} gibt es {x}.|{x} gibt es am {d}.]", d=day, x=dish.name), (fact_dinner(v, w, day),), day)
    question = v.say("[Was gibt es am {d} zu essen?|Was essen wir am {d}?|Was kochen wir am {d}?|Was steht am {d} auf dem Speiseplan?]", d=day)
    return Turn(question, v.say("[{x}.|Am {d} gibt es {x}.|Es gibt {x}.|{x}, das dauert {n} Minuten.]", d=day, x=dish.name, n=w.minutes(dish)), (fact_dinner(v, w, day), fact_minutes(w, dish)), dish.name)


def ask_minutes(v: Voice, w: World) -> Turn:
    dish = v.pick(w.dishes)
    minutes = w.minutes(dish)
    if v.chance(0.4):
        dinner = 60 * v.number(12, 19) + v.pick((0, 30))
        question = v.say("[Wir essen um {t}. Wann muss ich anfangen, wenn es {k} gibt?|Um {t} soll{en} {x} fertig sein. Wann fange ich an?]", en="en" if dish.noun.plural else "",
                         t=clock(dinner), x=dish.noun.form("def", "nom"), k=dish.name)
        answer = v.say("[Um {s}, denn es dauert {n} Minuten.|Es dauert {n} Minuten, also um {s}.|Spätestens um {s}.]", s=clock(dinner - minutes), n=minutes)
    else:
        question = v.say("[Wie lange dauert es, {k} zu kochen?|Wie viele Minuten brauche ich für {a}?|Wie lange brauche ich für {a}?|Wann {be} {x} fertig, wenn ich jetzt anfange?]",
                         k=dish.name, x=dish.noun.form("def", "nom"), a=dish.noun.form("def", "akk"), be=dish.noun.be)
        answer = v.say("[In {n} Minuten.|Rechne mit {n} Minuten.]" if question.startswith("Wann") else "[{n} Minuten.|Das dauert {n} Minuten.|Rechne mit {n} Minuten.|Etwa {n} Minuten.]", n=minutes)
    return Turn(question, answer, (fact_minutes(w, dish),), f"{minutes} Minuten")


def ask_recipe(v: Voice, w: World) -> Turn:
    dish, people = v.pick(w.dishes), v.pick((4, 4, 2, 6, 8))
    word = {2: "zwei", 4: "vier", 6: "sechs", 8: "acht"}[people]
    question = v.say("[Was brauche ich für {a} für {w} Personen?|Wir sind {w} Personen und kochen {x}. Was brauchen wir?|Welche Zutaten brauche ich, wenn ich {x} für {w} Personen koche?]",
                     a=dish.noun.form("def", "akk"), x=dish.name, w=word)
    answer = v.say("[Für {w} Personen: {all}.|Man braucht {all}.|Du brauchst {all}.]", w=word, all=joined([part.times(people) for part in dish.parts]))
    return Turn(question, answer, (fact_recipe(w, dish),))


def ask_intolerance(v: Voice, w: World) -> Turn:
    person, dish = v.pick(w.family), v.pick(w.dishes)
    culprits = dish.culprits(person.intolerance)
    values = {"n": person.name, "x": dish.noun.form("def", "akk"), "i": person.intolerance, "c": joined(culprits)}
    question = v.say("[Kann {n} {x} essen?|Darf {n} {x} essen?|Verträgt {n} {x}?]", **values)
    if culprits:
        be = "sind" if len(culprits) > 1 or culprits[0] in ("Eier", "Nüsse", "Nudeln") else "ist"
        answer = v.say("[Nein, {n} verträgt {i}, und hier {be} {c} drin.|Nein. Es {be} {c} drin, und {n} verträgt {i}.|Lieber nicht, denn {n} verträgt {i}.]", be=be, **values)
    elif person.intolerance:
        answer = v.say("[Ja. {n} verträgt zwar {i}, aber davon ist hier nichts drin.|Ja, da ist nichts drin, was {n} nicht verträgt.|Ja, das geht.]", **values)
    else:
        answer = v.say("[Ja, {n} verträgt alles.|Ja, natürlich.|Ja, bei {n} muss man auf nichts achten.]", **values)
    return Turn(question, answer, (fact_relative(v, person), fact_recipe(w, dish)))


def ask_birthday(v: Voice, w: World) -> Turn:
    person = v.pick(w.family)
    question = v.say("[Wann hat {n} Geburtstag?|An welchem Tag hat {n} Geburtstag?|Wann feiern wir den Geburtstag von {n}?]", n=person.name)
    return Turn(question, v.say("[Am {b}.|{n} hat am {b} Geburtstag.|Das ist der {b}.]" if "feiern" not in question else "[Am {b}.|Den feiern wir am {b}.]", n=person.name, b=person.birthday), (f"{person.name} hat am {person.birthday} Geburtstag.",), person.birthday)


def ask_caretaker(v: Voice, w: World) -> Turn:
    name = w.caretaker.oblique
    trouble = v.pick(("Die Heizung ist kalt.", "Im Flur ist das Licht kaputt.", "Der Aufzug steht.", "Aus dem Hahn tropft Wasser.", "Die Haustür schließt nicht.", "Im Keller steht Wasser."))
    question = trouble + v.say(" [Wen rufe ich an?|Wen muss ich anrufen?|Wem sage ich Bescheid?]")
    answer = v.say("[{n}, Telefon {p}.|Dem Hausmeister, {n}, unter {p}.]" if question.endswith("Bescheid?") else "[{n}, unter {p}.|Den Hausmeister, {n}, Telefon {p}.|Ruf {n} an: {p}.]", n=name, p=w.phone)
    return Turn(question, answer, (f"Unser Hausmeister heißt {w.caretaker.name}, Telefon {w.phone}.",), w.phone)


def ask_gender(v: Voice, w: World) -> Turn:
    """Which article a noun takes, and in which form."""
    noun = v.pick([noun for noun in (*TOOL, *MEETING, *(item.noun for item in ALL_ITEMS)) if not noun.plural])
    kind = v.number(0, 2)
    if kind == 0:
        question = v.say("[Heißt es der, die oder das {w}?|Welchen Artikel hat {w}?|Welches Geschlecht hat das Wort {w}?]", w=noun.word)
        names = {"der": "männlich", "die": "weiblich", "das": "sächlich"}
        return Turn(question, v.say("[Es heißt {a} {w}.|{w} ist {g}: {a} {w}.|Richtig ist: {a} {w}.]", a=noun.article, w=noun.word, g=names[noun.article]))
    if kind == 1:
        question = v.say("[Ergänze: Ich sehe ___ {w}.|Wie heißt {d} im Akkusativ?]", w=noun.word, d=noun.form("def", "nom"))
        return Turn(question, f"Ich sehe {noun.form('def', 'akk')}." if question.startswith("Erg") else f"Im Akkusativ heißt es {noun.form('def', 'akk')}.")
    question = v.say("[Ergänze: mit ___ {w}.|Wie heißt {d} im Dativ?]", w=noun.word, d=noun.form("def", "nom"))
    return Turn(question, f"Mit {noun.form('def', 'dat')}." if question.startswith("Erg") else f"Im Dativ heißt es {noun.form('def', 'dat')}, zum Beispiel: mit {noun.form('def', 'dat')}.")


#: Questions about what only this house, office and family know.
PRIVATE: tuple[Callable[[Voice, World], Turn], ...] = (
    ask_price, ask_cheapest, ask_hours, ask_place, ask_waste, ask_laundry, ask_floor, ask_tool, ask_room, ask_duty, ask_meeting,
    ask_deputy, ask_dinner, ask_minutes, ask_birthday)
QUESTIONS = (*PRIVATE, ask_price, ask_total, ask_total, ask_quiet, ask_key, ask_recipe, ask_intolerance, ask_intolerance, ask_caretaker, ask_gender, ask_meeting)
