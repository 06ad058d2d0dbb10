"""Aushänge, Briefe, Zettel: papers of a German house, office and family."""

from collections.abc import Callable

from baicai.data.generators.german_talk import (
    fact_dinner,
    fact_duty,
    fact_floor,
    fact_hours,
    fact_laundry,
    fact_meeting,
    fact_minutes,
    fact_place,
    fact_price,
    fact_relative,
    fact_room,
    fact_waste,
    joined,
)
from baicai.data.generators.german_world import (
    ALL_ITEMS,
    DAYS,
    DUTY,
    MEETING,
    MONTHS,
    TOOL,
    WASTE,
    WORKDAYS,
    Item,
    World,
    clock,
    euro,
)
from baicai.data.generators.phrasing import Voice

# The verb, what happens, and what people are asked to do.
EVENTS = (
    ("wird", "das Wasser abgestellt", "Bitte füllen Sie vorher einen Eimer."),
    ("wird", "der Strom abgeschaltet", "Bitte schalten Sie vorher alle Geräte aus."),
    ("wird", "der Aufzug gewartet", "Bitte benutzen Sie so lange die Treppe."),
    ("werden", "die Heizungen abgelesen", "Bitte sorgen Sie dafür, dass jemand zu Hause ist."),
    ("kommt", "der Schornsteinfeger", "Bitte öffnen Sie ihm die Tür."),
    ("werden", "die Fenster im Treppenhaus geputzt", "Bitte stellen Sie nichts auf die Fensterbänke."),
    ("werden", "die Rauchmelder geprüft", "Die Prüfung dauert in jeder Wohnung nur wenige Minuten."),
    ("wird", "der Hof neu gepflastert", "Bitte parken Sie an diesem Tag auf der Straße."),
    ("werden", "neue Mülltonnen geliefert", "Die alten Tonnen bleiben noch eine Woche stehen."),
    ("wird", "das Dach repariert", "Es kann dabei laut werden."),
)
DEFECTS = (
    ("Heizung", "Die Heizung im Schlafzimmer wird nicht warm"),
    ("Wasserhahn", "Der Wasserhahn in der Küche tropft"),
    ("Fenster", "Das Fenster im Kinderzimmer lässt sich nicht mehr schließen"),
    ("Feuchtigkeit im Bad", "Im Bad hat sich ein feuchter Fleck gebildet"),
    ("Klingel", "Die Klingel an der Haustür ist defekt"),
    ("Licht im Keller", "Das Licht im Keller brennt nicht mehr"),
    ("Rollladen", "Der Rollladen im Wohnzimmer klemmt"),
    ("Briefkasten", "Der Briefkasten ist aufgebrochen worden"),
    ("Herd", "Der Herd hat nur noch zwei warme Platten"),
)


def house_rules(v: Voice, w: World) -> str:
    noon, end, night, morning = w.quiet
    rules = [
        v.say(
            f"[Von {noon} bis {end} Uhr ist Mittagsruhe.|Zwischen {noon} und {end} Uhr gilt die Mittagsruhe.|"
            f"Bitte vermeiden Sie von {noon} bis {end} Uhr jeden Lärm.]"
        ),
        v.say(
            f"[Die Nachtruhe beginnt um {night} Uhr und endet um {morning} Uhr.|"
            f"Von {night} bis {morning} Uhr ist Nachtruhe.|Ab {night} Uhr gilt bitte Zimmerlautstärke.]"
        ),
        v.say(
            "[Fahrräder gehören in den Keller und nicht in den Flur.|"
            "Der Hausflur ist von Fahrrädern und Kinderwagen freizuhalten.|"
            "Bitte stellen Sie keine Fahrräder im Hausflur ab.]"
        ),
        v.say(
            f"[Die Haustür ist ab {night} Uhr geschlossen zu halten.|"
            f"Bitte halten Sie die Haustür ab {night} Uhr geschlossen.]"
        ),
        v.say(
            "[Das Treppenhaus wird jede Woche geputzt, die Stockwerke wechseln sich ab.|"
            "Wer im Plan an der Reihe ist, putzt das Treppenhaus.]"
        ),
        v.say("[Grillen auf dem Balkon ist nicht erlaubt.|Auf den Balkonen darf nicht gegrillt werden.]"),
        v.say(
            "[Wer die Waschküche benutzt, hinterlässt sie sauber.|"
            "Die Waschküche ist nach dem Waschen zu reinigen.|"
            "Bitte leeren Sie nach dem Waschen das Flusensieb.]"
        ),
        v.say(
            f"[Bei Schäden rufen Sie bitte {w.caretaker.oblique} an, Telefon {w.phone}.|"
            f"Schäden melden Sie bitte sofort dem Hausmeister, {w.caretaker.oblique}, Telefon {w.phone}.]"
        ),
        fact_waste(v, w, v.pick(WASTE)),
        v.say(
            "[Im Winter ist auch nachts auf geschlossene Kellerfenster zu achten.|"
            "Bitte schließen Sie im Winter die Kellerfenster.]"
        ),
        v.say("[Haustiere sind nach Absprache erlaubt.|Hunde sind im Hof an der Leine zu führen.]"),
    ]
    chosen = v.sample(rules, v.number(4, 8))
    head = v.say(f"[Hausordnung|Hausordnung für das Haus {w.address}|Regeln für unser Haus {w.address}]")
    return (
        head
        + "\n\n"
        + "\n".join(f"{index}. {rule}" for index, rule in enumerate(chosen, 1))
        + v.say(f"\n\n[Die Hausverwaltung|Ihr Hausmeister {w.caretaker.name}|Vielen Dank für Ihre Rücksicht.]")
    )


def notice(v: Voice, w: World) -> str:
    day, date = v.pick(WORKDAYS), f"{v.number(1, 28)}. {v.pick(MONTHS)}"
    start = v.number(8, 13)
    end = start + v.number(1, 4)
    verb, event, request = v.pick(EVENTS)
    name, oblique = w.caretaker.name, w.caretaker.oblique
    return v.say(
        "[Aushang|An alle Mieterinnen und Mieter|Wichtige Mitteilung|Bitte beachten]\n\n"
        "[Liebe Nachbarn|Sehr geehrte Damen und Herren|Liebe Mieterinnen und Mieter],\n\n"
        f"am {day}, dem {date}, {verb} [von {start} bis {end} Uhr|zwischen {start} und {end} Uhr] {event}. {request} "
        f"[Bei Fragen hilft Ihnen {name} weiter, Telefon {w.phone}.|Rufen Sie bei Fragen bitte {oblique} an: {w.phone}."
        "|Wir danken für Ihr Verständnis.]\n\n"
        f"[Mit freundlichen Grüßen|Freundliche Grüße]\n[Die Hausverwaltung|{name}, Hausmeister]"
    )


def complaint(v: Voice, w: World) -> str:
    """A letter to the house management about something broken."""
    subject, defect = v.pick(DEFECTS)
    who, since, day = v.pick(w.neighbours), v.pick(DAYS), v.pick(WORKDAYS)
    return v.say(
        f"[Betreff|Betrifft]: {subject}\n\n[Sehr geehrte Damen und Herren|{w.caretaker.greeting}],\n\n"
        f"seit {since} [haben wir ein Problem|gibt es in unserer Wohnung einen Mangel|stimmt etwas nicht]: {defect}."
        "[ Wir haben selbst nachgesehen, konnten den Fehler aber nicht finden.|"
        " Der Zustand wird von Tag zu Tag schlechter."
        "| Auch den Nachbarn ist es schon aufgefallen.|]"
        f" [Bitte schicken Sie uns bald einen Handwerker.|Wir bitten Sie, den Schaden bis nächsten {day} zu beheben."
        "|Könnten Sie uns bitte einen Termin nennen?]"
        f" [Am {day} sind wir ab {v.number(14, 18)} Uhr zu Hause.|Sie erreichen uns am besten abends.|"
        f"Wir wohnen {w.floor(who)}.]"
        f"\n\nMit freundlichen Grüßen\n{who.first} {who.surname}"
    )


def office_mail(v: Voice, w: World) -> str:
    meeting = v.pick(MEETING)
    day, start, length, who = w.appointment(meeting)
    sender = v.pick([c for c in w.colleagues if c is not who])
    new_day, new_start = v.pick([d for d in WORKDAYS if d != day]), start + v.pick((-60, 60, 30))
    kind = v.number(0, 2 if w.deputy(sender) is not who else 1)
    the_meeting, our_meeting = meeting.den, meeting.unseren
    time, new_time, deputy = clock(start), clock(new_start), w.deputy(sender)
    if kind == 0:
        subject = f"[Absage|Verschiebung|Neuer Termin]: {meeting.word}"
        body = (
            f"[leider muss ich {our_meeting} am {day} um {time} absagen.|"
            f"leider kann ich am {day} um {time} nicht kommen.] "
            f"[Passt es Ihnen stattdessen am {new_day} um {new_time}?|Wäre der {new_day} um {new_time} für Sie möglich?"
            f"|Können wir {meeting.pronoun_akk} auf {new_day}, {new_time}, verschieben?] "
            "[Bitte geben Sie mir kurz Bescheid.|Ich freue mich auf Ihre Antwort.|"
            "Entschuldigen Sie bitte die Umstände.]"
        )
    elif kind == 1:
        subject = f"[Bestätigung|Termin|Einladung]: {meeting.word} am {day}"
        body = (
            f"hiermit bestätige ich {the_meeting} am {day} um {time}. [Wir treffen uns|Bitte kommen Sie|"
            "Ich erwarte Sie] "
            f"in Zimmer {w.room(sender)}. [Wir brauchen etwa {length} Minuten.|Bitte planen Sie {length} Minuten ein.] "
            "[Bringen Sie bitte Ihre Unterlagen mit.|Kaffee und Wasser stehen bereit."
            "|Sollte etwas dazwischenkommen, rufen Sie mich bitte an.]"
        )
    else:
        subject = "[Urlaub|Vertretung|Meine Abwesenheit]"
        body = (
            f"[ab {new_day} bin ich für eine Woche im Urlaub.|von {new_day} an bin ich nicht im Büro.] "
            f"[In dieser Zeit vertritt mich {deputy.name}.|Bitte wenden Sie sich so lange an {deputy.oblique}.] "
            f"[{meeting.unser} am {day} findet trotzdem statt.|{meeting.unser} bleibt am {day} um {time}.] "
            "[Ich wünsche Ihnen eine gute Woche.|Vielen Dank für die Zusammenarbeit.]"
        )
    return v.say(
        f"Betreff: {subject}\n\n{who.greeting},\n\n{body}\n\n"
        f"[Mit freundlichen Grüßen|Freundliche Grüße|Viele Grüße]\n{sender.first} {sender.surname}"
    )


def sick_note(v: Voice, w: World) -> str:
    child, sibling = v.sample(w.names[2:], 2)
    return v.say(
        f"{v.pick(w.colleagues).greeting},\n\n{child} [kann heute leider nicht in die Schule kommen"
        "|ist krank und bleibt heute zu Hause|hat Fieber und muss im Bett bleiben]. "
        f"[Der Arzt rechnet mit {v.number(2, 5)} Tagen Ruhe.|"
        f"Voraussichtlich kommt {child} am {v.pick(WORKDAYS)} wieder."
        "|Wir melden uns, sobald es besser geht.] [Können Sie uns bitte die Hausaufgaben schicken?"
        f"|{sibling} holt die Hausaufgaben ab.|Bitte geben Sie die Hausaufgaben {sibling} mit.]\n\n"
        f"[Mit freundlichen Grüßen|Freundliche Grüße]\n{v.pick(w.names[:2])} {w.surname}"
    )


def shopping(v: Voice, w: World) -> str:
    shop, total = v.pick(w.shops), 0
    rows = [v.say(f"[Einkaufszettel|Bei {shop} kaufen|Für {v.pick(DAYS)}|Bitte mitbringen]:")]
    for item in v.sample(ALL_ITEMS, v.number(3, 7)):
        count = v.pick((1, 1, 2, 3))
        cents = count * w.price(item, shop)
        total += cents
        rows.append(f"- {counted(item, count)}" + v.say(f"[||| ({euro(cents)})| (steht dann {w.place(item)})]"))
    tens = -(-total // 1000) * 10
    rows.append(
        v.say(f"[|Zusammen bei {shop}: {euro(total)}|Das macht bei {shop} {euro(total)}.|Nimm {tens} Euro mit.]")
    )
    return "\n".join(rows).rstrip()


def receipt(v: Voice, w: World) -> str:
    shop, total, rows = v.pick(w.shops), 0, []
    for item in v.sample(ALL_ITEMS, v.number(3, 7)):
        count, price = v.pick((1, 1, 1, 2, 3)), w.price(item, shop)
        total += count * price
        each = f" (je {amount(price)})" if count > 1 else ""
        rows.append(f"{counted(item, count) + each:<40}{amount(count * price):>7}")
    rows.append(f"{'Summe':<40}{amount(total):>7}")
    if v.chance(0.6):
        paid = next(note for note in (1000, 2000, 5000, 10000, 20000) if note >= total)
        rows += [f"{'Bar':<40}{amount(paid):>7}", f"{'Rückgeld':<40}{amount(paid - total):>7}"]
    else:
        rows.append(f"{'Karte':<40}{amount(total):>7}")
    name = v.pick(("Frau Lind", "Herr Kern", "Frau Aksoy"))
    foot = v.say(
        f"[Vielen Dank für Ihren Einkauf!|Es bediente Sie {name}.|Bitte bewahren Sie diesen Beleg auf.|Bis bald!]"
    )
    return "\n".join([shop, f"{v.pick(WORKDAYS)}, {v.number(9, 16)}:{v.number(10, 59)} Uhr", "", *rows, "", foot])


def counted(item: Item, count: int) -> str:
    return f"{count} {item.pack.word if count == 1 else item.pack_plural} {item.name}"


def amount(cents: int) -> str:
    return f"{cents // 100},{cents % 100:02d}"


def menu(v: Voice, w: World) -> str:
    rows = [v.say(f"[Speiseplan|Speiseplan der Woche|Was es bei Familie {w.surname} gibt|Unser Essen in dieser Woche]")]
    style = v.number(0, 2)
    rows += [
        f"{d}: {w.dinner(d).name}"
        if style == 0
        else f"{d}: {w.dinner(d).name} ({w.minutes(w.dinner(d))} Minuten)"
        if style == 1
        else fact_dinner(v, w, d)
        for d in DAYS
    ]
    return "\n".join(rows)


def recipe(v: Voice, w: World) -> str:
    dish, people = v.pick(w.dishes), v.pick((4, 4, 2, 6, 8))
    first, rest = dish.parts[0].item.noun, [part.item.noun for part in dish.parts[1:]]
    comes, follows = "kommen" if first.plural else "kommt", "folgen" if len(rest) > 1 or rest[0].plural else "folgt"
    if dish.name.endswith("kuchen") and dish.name != "Pfannkuchen":
        cooking = "[Alles verrühren, in die Form füllen und backen.|Den Teig in die Form geben und goldbraun backen.]"
        serving = "[Abkühlen lassen.|Vor dem Anschneiden abkühlen lassen.]"
    else:
        cooking = (
            "[Alles zusammen bei mittlerer Hitze garen.|Nicht zu heiß werden lassen und ab und zu rühren."
            "|Mit Geduld und nicht zu viel Hitze kochen.]"
        )
        serving = "[Mit Salz abschmecken.|Zum Schluss abschmecken und servieren.|Heiß servieren.]"
    steps = (
        f"[Zuerst {first.den} bereitlegen.|{first.den} abwiegen und bereitstellen.|"
        f"Als Erstes {comes} {first.der} an die Reihe.]",
        f"[Danach|Dann|Nun] {follows} {joined([noun.der for noun in rest])}.",
        cooking,
        serving,
    )
    return "\n".join(
        [
            v.say(f"[{dish.name}|{dish.name} nach Art der Familie {w.surname}|So kochen wir {dish.name}]"),
            f"Für {people} Personen, {w.minutes(dish)} Minuten",
            "",
            *(f"- {part.times(people)}" for part in dish.parts),
            "",
            *(f"{index}. {v.say(step)}" for index, step in enumerate(steps, 1)),
            *(f"Achtung: {p.name} verträgt {p.intolerance}." for p in w.family if dish.culprits(p.intolerance)),
        ]
    )


def to_neighbour(v: Voice, w: World) -> str:
    writer, reader = v.sample(w.neighbours, 2)
    tool, noun, day = v.pick(TOOL), v.pick(ALL_ITEMS).noun, v.pick(DAYS)
    floor, some = w.floor(writer), "welche" if noun.plural else "etwas"
    dear = f"Lieber {reader.name}" if reader.title == "Herr" else f"Liebe {reader.name}"
    request = v.pick(
        (
            f"könnten Sie mir am {day} {tool.einen} leihen?",
            f"darf ich mir am {day} {tool.einen} bei Ihnen ausleihen?",
            f"ich habe {tool.den} vor Ihre Tür gestellt, vielen Dank fürs Leihen!",
            f"bei mir liegt ein Paket für Sie. Sie können es ab {v.number(15, 18)} Uhr abholen.",
            f"am {day} feiern wir Geburtstag, und es kann etwas lauter werden. Wenn es Sie stört, klingeln Sie bitte.",
            f"wir sind von {day} an für eine Woche verreist. Könnten Sie bitte unsere Blumen gießen?",
            f"mir {noun.be} {noun.der} ausgegangen. Hätten Sie vielleicht noch {some} für mich?",
        )
    )
    return v.say(
        f"[{dear}|Hallo {reader.name}],\n\n{request}[ Ich wohne {floor}.| Sie finden mich {floor}.|"
        f" Klingeln Sie einfach {floor}.|]"
        f"\n\n[Herzlichen Dank|Vielen Dank und viele Grüße|Viele Grüße]\n{writer.first} {writer.surname}"
    )


def invitation(v: Voice, w: World) -> str:
    who, day, hour = v.pick(w.family), v.pick(DAYS[4:]), v.number(14, 19)
    dish = v.pick(w.dishes).name
    return v.say(
        f"[Einladung|Wir feiern!|Herzliche Einladung]\n\n{who.name} [hat am {who.birthday} Geburtstag"
        f"|wird am {who.birthday} ein Jahr älter]. [Deshalb laden wir euch am {day} um {hour} Uhr zu uns ein."
        f"|Wir feiern am {day} ab {hour} Uhr bei uns zu Hause.|Kommt doch am {day} um {hour} Uhr zu uns!] "
        f"[Es gibt {dish}.|Wir kochen {dish} für alle.|Zu essen gibt es {dish}.] "
        f"[Bitte sagt bis {v.pick(WORKDAYS[:4])} Bescheid, ob ihr kommt.|Bringt gute Laune mit.|"
        "Geschenke sind nicht nötig.]"
        f"\n\n[Eure Familie {w.surname}|Es freuen sich {w.names[0]} und {w.names[1]}]"
    )


def plan(v: Voice, w: World) -> str:
    kind = v.number(0, 2)
    if kind == 0:
        title = "[Waschplan|Plan für die Waschküche|Wer wann wäscht]"
        rows = [
            fact_laundry(v, w, who) if v.chance(0.3) else f"{w.laundry_day(who)}: {who.name} ({w.floor(who)})"
            for who in v.sample(w.neighbours, 5)
        ]
    elif kind == 1:
        title = "[Müllkalender|Abfuhr der Tonnen|Wann was abgeholt wird]"
        rows = [fact_waste(v, w, waste) for waste in v.sample(WASTE, v.number(3, 5))]
    else:
        title = "[Wer wo sitzt und was macht|Zuständigkeiten im Büro|Unser Büro]"
        rows = [fact_room(v, w, who) for who in w.colleagues]
        rows += [fact_duty(v, w, duty) for duty in v.sample(DUTY, v.number(2, 5))]
    return "\n".join([v.say(title), *rows])


def minutes(v: Voice, w: World) -> str:
    meeting = v.pick(MEETING[:2])
    day, start, length, _ = w.appointment(meeting)
    begin, weekday, date = clock(start), v.pick(WORKDAYS), f"{v.number(1, 28)}. {v.pick(MONTHS)}"
    one, two = v.sample(w.colleagues, 2)
    points = [
        fact_duty(v, w, v.pick(DUTY)),
        fact_meeting(v, w, v.pick(MEETING)),
        fact_room(v, w, v.pick(w.colleagues)),
        v.say(
            "[Der Drucker im Flur wird ausgetauscht.|Für den Drucker wird neues Papier bestellt.|"
            f"Der neue Drucker kommt am {weekday}.]"
        ),
        v.say(
            f"{one.name} [ist vom {date} an [eine Woche|zwei Wochen|drei Wochen] im Urlaub|hat vom {date} an Urlaub]."
        ),
        v.say(f"[Die Küche wird ab sofort reihum aufgeräumt.|Am {weekday} räumt {two.name} die Küche auf.]"),
        v.say(
            "[Das Lager ist voll und muss sortiert werden.|Im Lager fehlen Kartons.|"
            f"Die Schlüssel für das Lager liegen bei {two.oblique}.]"
        ),
        v.say(f"[Der nächste Termin ist am {day} um {begin}.|Das nächste Treffen findet am {day} um {begin} statt.]"),
    ]
    return "\n".join(
        [
            v.say(f"[Protokoll|Kurzprotokoll|Ergebnisse]: {meeting.word} vom {v.number(1, 28)}. {v.pick(MONTHS)}"),
            f"Beginn: {begin}, Ende: {clock(start + length)}",
            f"Anwesend: {joined([colleague.name for colleague in w.colleagues])}",
            "",
            *(f"{index}. {point}" for index, point in enumerate(v.sample(points, v.number(3, 6)), 1)),
        ]
    )


def note(v: Voice, w: World) -> str:
    writer, reader = v.sample(w.names, 2)
    day, item, shop = v.pick(DAYS), v.pick(ALL_ITEMS), v.pick(w.shops)
    dish = w.dinner(day)
    pack = item.packs()
    middle = [
        fact_dinner(v, w, day),
        fact_minutes(w, dish),
        fact_place(v, w, item),
        fact_waste(v, w, v.pick(WASTE)),
        fact_hours(v, w, shop, day),
        fact_relative(v, v.pick(w.family)),
        v.say(
            f"[Bring bitte {pack} von {shop} mit.|Kannst du bei {shop} {pack} holen?|"
            f"Kauf bitte noch {pack} bei {shop}.]"
        ),
        fact_price(v, w, item, shop),
        v.say(
            f"[Unser Ersatzschlüssel liegt bei {w.key_holder.oblique}.|"
            f"Wenn du nicht ins Haus kommst: {w.key_holder.name} hat den Schlüssel.]"
        ),
        fact_laundry(v, w, v.pick(w.neighbours)),
    ]
    head, foot = (
        v.say(f"[Hallo|Hi|Guten Morgen,] {reader}!"),
        v.say(f"[Bis später|Bis heute Abend|Kuss|Danke]\n{writer}"),
    )
    return "\n".join([head, " ".join(v.sample(middle, v.number(2, 5))), foot])


def diary(v: Voice, w: World) -> str:
    day, shop, who = v.pick(DAYS[:6]), v.pick(w.shops), v.pick(w.neighbours)
    items = v.sample(ALL_ITEMS, v.number(2, 3))
    hours, dish = w.hours(shop, day), w.dinner(day)
    rows = [
        v.say(
            f"{day}. [Es hat den ganzen Morgen geregnet.|Die Sonne schien.|Es war kalt und windig.|"
            "Ich bin früh aufgewacht.|Im Treppenhaus roch es nach Kaffee.]"
        )
    ]
    if hours:
        bought = joined([item.packs() for item in items])
        cost = euro(sum(w.price(item, shop) for item in items))
        rows.append(
            v.say(
                f"[Ich war bei {shop} und habe {bought} gekauft|Bei {shop} habe ich {bought} gekauft|"
                f"Gleich nach {hours[0]} Uhr war ich bei {shop} und holte {bought}][, zusammen für {cost}|"
                f". Das machte {cost}|]."
            )
        )
    else:
        rows.append(v.say(f"Ich wollte zu {shop}, aber am {day} ist dort geschlossen."))
    that_one, tool = "der" if who.title == "Herr" else "die", v.pick(TOOL).unseren
    rows.append(
        v.say(
            f"[Auf der Treppe traf ich {who.oblique}, {that_one} wohnt {w.floor(who)}.|"
            f"{who.name} hat mich gegrüßt.|Am Nachmittag hat {who.name} geklingelt und {tool} zurückgebracht.|"
            f"Ich habe {who.oblique} {tool} geliehen.|]"
        )
    )
    rows.append(
        v.say(
            f"[Am Abend gab es {dish.name}.|Abends haben wir {dish.name} gegessen.|"
            f"Zum Abendessen gab es {dish.name}, das hat {w.minutes(dish)} Minuten gedauert.]"
        )
    )
    hit = [p for p in w.family if dish.culprits(p.intolerance)]
    if hit:
        rows.append(
            v.say(f"{hit[0].name} hat etwas anderes gegessen, weil {hit[0].name} {hit[0].intolerance} verträgt.")
        )
    rows.append(
        fact_floor(v, w, who)
        if v.chance(0.1)
        else v.say("[Morgen wird ein langer Tag.|Dann war Ruhe im Haus.|Jetzt bin ich müde.|Ein guter Tag.|]")
    )
    return " ".join(row for row in rows if row)


PAGES: tuple[Callable[[Voice, World], str], ...] = (
    house_rules,
    notice,
    notice,
    complaint,
    office_mail,
    office_mail,
    sick_note,
    shopping,
    receipt,
    menu,
    recipe,
    to_neighbour,
    to_neighbour,
    invitation,
    plan,
    plan,
    minutes,
    note,
    note,
    diary,
    diary,
)
