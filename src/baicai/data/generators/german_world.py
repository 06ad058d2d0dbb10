"""Ein Haus, ein Büro und eine Familie: the people, rooms, days and prices that the German texts speak of."""

from fractions import Fraction
from functools import cached_property
from typing import NamedTuple

from baicai.data.generators.phrasing import Facts, options

DAYS = ("Montag", "Dienstag", "Mittwoch", "Donnerstag", "Freitag", "Samstag", "Sonntag")
WORKDAYS = DAYS[:5]
MONTHS = options("Januar|Februar|März|April|Mai|Juni|Juli|August|September|Oktober|November|Dezember")
SURNAMES = options("""
Krüger|Sommer|Yilmaz|Berger|Hoffmann|Nowak|Vogel|Schreiber|Brandt|Lorenz|Kaya|Winter|Petersen|Albers|Engel
Rossi|Haas|Fuchs|Dietrich|Simon|Pohl|Jansen|Busch|Marten|Seidel|Arslan|Keller|Otto|Thoma|Wirth
""")
WOMEN = options("""
Anke|Birgit|Claudia|Doris|Elif|Franziska|Gisela|Heike|Ingrid|Jutta|Karin|Lara|Maren|Nina|Petra|Rosa|Silke
Tanja|Ulrike|Vera
""")
MEN = options("""
Andreas|Bernd|Carsten|Dieter|Emre|Frank|Georg|Holger|Jan|Karl|Lukas|Martin|Norbert|Oliver|Paul|Ralf|Stefan
Thomas|Uwe|Walter
""")
GIRLS = options("Mia|Emma|Lina|Klara|Ida|Frieda|Marie|Leni|Ayla|Johanna")
BOYS = options("Ben|Jonas|Felix|Emil|Anton|Moritz|Deniz|Theo|Jakob|Max")
STREETS = options("""
in der Lindenstraße|im Birkenweg|am Mühlenplatz|in der Gartenstraße|in der Bahnhofstraße|im Rosenweg
am Alten Markt|in der Schulgasse|am Stadtgraben|in der Bergstraße|im Tannenweg|in der Kirchgasse
""")
SHOPS = options("""
Feldmann|Grünkorb|Bäuerle|Nordkauf|Frischeck|Adler|Lindner|Naturkost Linde|Sparfix|Bauer Heinrich|Kornmann
Südkauf
""")
PLACES = (
    options("im obersten Fach des Kühlschranks|in der Tür des Kühlschranks|im mittleren Fach des Kühlschranks"),
    options("im Keller in der Holzkiste|auf dem Balkon in der grünen Kiste|im Korb unter der Treppe"),
    options("""
im Schrank über der Spüle|in der Schublade neben dem Herd|in der Speisekammer auf dem untersten Brett
im Hängeschrank links|in der blauen Dose auf dem Regal|auf dem Brett über dem Tisch
"""),
)
# Name | Artikel (pl für Mehrzahl) | Packung | Geschlecht der Packung | Mehrzahl der Packung | Cent | Ort
ITEMS = """Weißkohl|der|Kopf|m|Köpfe|210|1
Möhren|pl|Kilo|n|Kilo|160|1
Kartoffeln|pl|Sack|m|Säcke|340|1
Zwiebeln|pl|Netz|n|Netze|150|1
Lauch|der|Bund|m|Bund|220|1
Champignons|pl|Schale|f|Schalen|230|0
Spinat|der|Beutel|m|Beutel|210|0
Tomaten|pl|Kilo|n|Kilo|310|1
Paprika|die|Packung|f|Packungen|280|0
Äpfel|pl|Kilo|n|Kilo|260|1
Zitronen|pl|Netz|n|Netze|200|0
Milch|die|Liter|m|Liter|120|0
Butter|die|Packung|f|Packungen|240|0
Sahne|die|Becher|m|Becher|130|0
Quark|der|Becher|m|Becher|150|0
Käse|der|Stück|n|Stück|450|0
Eier|pl|Schachtel|f|Schachteln|290|0
Brot|das|Laib|m|Laibe|390|2
Mehl|das|Packung|f|Packungen|110|2
Nudeln|pl|Packung|f|Packungen|150|2
Reis|der|Beutel|m|Beutel|260|2
Linsen|pl|Packung|f|Packungen|230|2
Bohnen|pl|Dose|f|Dosen|95|2
Zucker|der|Packung|f|Packungen|130|2
Haferflocken|pl|Packung|f|Packungen|120|2
Honig|der|Glas|n|Gläser|520|2
Senf|der|Glas|n|Gläser|140|0
Kaffee|der|Packung|f|Packungen|650|2
Tee|der|Schachtel|f|Schachteln|320|2
Öl|das|Flasche|f|Flaschen|480|2
Essig|der|Flasche|f|Flaschen|190|2
Nüsse|pl|Beutel|m|Beutel|390|2
Rosinen|pl|Beutel|m|Beutel|220|2
Lachs|der|Packung|f|Packungen|690|0
Hackfleisch|das|Packung|f|Packungen|540|0
Salz|das|Packung|f|Packungen|60|2"""
# Gericht | Artikel | Minuten | Zutaten für vier
DISHES = """Kartoffelsuppe|die|45|Kartoffeln 800 g, Möhren 200 g, Lauch 100 g, Sahne 200 ml
Linseneintopf|der|60|Linsen 300 g, Möhren 300 g, Kartoffeln 400 g, Essig 20 ml
Kohlrouladen|pl|80|Weißkohl 1200 g, Hackfleisch 500 g, Zwiebeln 200 g
Pfannkuchen|pl|30|Mehl 300 g, Milch 500 ml, Eier 4 Stück, Butter 40 g
Gemüsereis|der|30|Reis 300 g, Paprika 400 g, Möhren 200 g, Öl 20 ml
Nudelauflauf|der|50|Nudeln 400 g, Tomaten 500 g, Käse 200 g, Sahne 200 ml
Spinatlasagne|die|70|Nudeln 300 g, Spinat 600 g, Käse 200 g, Milch 400 ml
Kartoffelpuffer|pl|40|Kartoffeln 1000 g, Eier 2 Stück, Mehl 40 g, Öl 60 ml
Bohneneintopf|der|50|Bohnen 600 g, Kartoffeln 400 g, Zwiebeln 200 g
Champignonpfanne|die|25|Champignons 600 g, Zwiebeln 200 g, Sahne 200 ml, Reis 300 g
Milchreis|der|40|Reis 200 g, Milch 1000 ml, Zucker 60 g, Rosinen 80 g
Apfelkuchen|der|75|Äpfel 800 g, Mehl 300 g, Butter 160 g, Zucker 120 g, Eier 4 Stück
Lachs mit Spinat|der|35|Lachs 600 g, Spinat 400 g, Sahne 100 ml, Kartoffeln 600 g
Frikadellen|pl|35|Hackfleisch 600 g, Zwiebeln 100 g, Eier 2 Stück, Brot 100 g
Kartoffeln mit Quark|pl|30|Kartoffeln 1000 g, Quark 500 g, Zwiebeln 100 g
Tomatensuppe|die|30|Tomaten 1000 g, Zwiebeln 100 g, Sahne 100 ml
Nusskuchen|der|65|Nüsse 200 g, Mehl 200 g, Eier 4 Stück, Butter 120 g, Zucker 120 g
Eier in Senfsoße|pl|30|Eier 8 Stück, Senf 60 g, Milch 400 ml, Kartoffeln 800 g"""
# was jemand nicht verträgt, im Akkusativ mit "kein" | Zutaten, in denen es steckt
INTOLERANCES = {
    "keine Milch": ("Milch", "Sahne", "Butter", "Quark", "Käse"),
    "keine Nüsse": ("Nüsse",),
    "keine Eier": ("Eier",),
    "keinen Fisch": ("Lachs",),
    "keinen Senf": ("Senf",),
    "keinen Weizen": ("Mehl", "Nudeln", "Brot"),
}
# Gegenstand | Artikel
TOOLS = """Bohrmaschine|die
Leiter|die
Werkzeugkasten|der
Staubsauger|der
Schubkarre|die
Bügelbrett|das
Waffeleisen|das
Zelt|das
Luftpumpe|die
Hammer|der
Verlängerungskabel|das
Nähmaschine|die
Rasenmäher|der
Kuchenform|die"""
# Aufgabe im Büro | Artikel
DUTIES = """Rechnungen|pl
Postausgang|der
Drucker|der
Urlaubsplanung|die
Lager|das
Website|die
Küche|die
Schulungen|pl
Einkauf|der
Archiv|das
Dienstwagen|der
Telefonzentrale|die"""
MEETINGS = """Besprechung|die
Teamrunde|die
Vorstellungsgespräch|das
Schulung|die
Jahresgespräch|das
Übergabe|die
Rundgang|der
Abnahme|die
Telefontermin|der
Versammlung|die"""
WASTES = """Restmüll|der
Biomüll|der
Papier|das
Glas|das
Sperrmüll|der"""
_FORMS = {
    "def": {"der": "der den dem", "die": "die die der", "das": "das das dem", "pl": "die die den"},
    "ein": {"der": "ein einen einem", "die": "eine eine einer", "das": "ein ein einem", "pl": "  "},
    "kein": {
        "der": "kein keinen keinem",
        "die": "keine keine keiner",
        "das": "kein kein keinem",
        "pl": "keine keine keinen",
    },
    "unser": {
        "der": "unser unseren unserem",
        "die": "unsere unsere unserer",
        "das": "unser unser unserem",
        "pl": "unsere unsere unseren",
    },
}
_CASES = ("nom", "akk", "dat")


class Noun(NamedTuple):
    """A noun with its article: der, die, das, or pl for one used in the plural."""

    word: str
    article: str

    def form(self, kind: str, case: str) -> str:
        """Return the noun with def, ein, kein or unser in nom, akk or dat; plural nouns only in nom and akk."""
        assert case != "dat" or self.article != "pl", self.word
        return f"{_FORMS[kind][self.article].split(' ')[_CASES.index(case)]} {self.word}".strip()

    # With the definite article in the three cases, and with others in the accusative or nominative.
    @property
    def der(self) -> str:
        return self.form("def", "nom")

    @property
    def den(self) -> str:
        return self.form("def", "akk")

    @property
    def dem(self) -> str:
        return self.form("def", "dat")

    @property
    def einen(self) -> str:
        return self.form("ein", "akk")

    @property
    def keinen(self) -> str:
        return self.form("kein", "akk")

    @property
    def unser(self) -> str:
        return self.form("unser", "nom")

    @property
    def unseren(self) -> str:
        return self.form("unser", "akk")

    @property
    def pronoun(self) -> str:
        return {"der": "er", "die": "sie", "das": "es", "pl": "sie"}[self.article]

    @property
    def pronoun_akk(self) -> str:
        return {"der": "ihn", "die": "sie", "das": "es", "pl": "sie"}[self.article]

    @property
    def plural(self) -> bool:
        return self.article == "pl"

    @property
    def be(self) -> str:
        return "sind" if self.plural else "ist"


class Item(NamedTuple):
    """Something to buy, with the noun it is packed in."""

    noun: Noun
    pack: Noun
    pack_plural: str
    base_cents: int
    kind: int

    @property
    def name(self) -> str:
        return self.noun.word

    def packs(self, count: int = 1, case: str = "akk") -> str:
        if count == 1:
            return f"{self.pack.form('ein', case)} {self.name}"
        return f"{count} {self.pack_plural} {self.name}"


class Part(NamedTuple):
    """How much of an item a dish for four takes."""

    item: Item
    quantity: int
    unit: str

    def times(self, people: int) -> str:
        value = Fraction(self.quantity * people, 4)
        assert value.denominator == 1
        if self.unit == "Stück":
            return f"{value} {self.item.name if value > 1 else 'Ei'}"
        return f"{value} {self.unit} {self.item.name}"


class Dish(NamedTuple):
    """A dish for four."""

    noun: Noun
    base_minutes: int
    parts: tuple[Part, ...]

    @property
    def name(self) -> str:
        return self.noun.word

    def culprits(self, intolerance: str) -> list[str]:
        return [part.item.name for part in self.parts if part.item.name in INTOLERANCES.get(intolerance, ())]


class Person(NamedTuple):
    """A neighbour or colleague: Frau or Herr and a surname."""

    title: str
    surname: str
    first: str

    @property
    def name(self) -> str:
        return f"{self.title} {self.surname}"

    @property
    def oblique(self) -> str:
        """The name in the accusative or dative."""
        return f"{'Herrn' if self.title == 'Herr' else 'Frau'} {self.surname}"

    @property
    def greeting(self) -> str:
        return f"Sehr geehrte{'r' if self.title == 'Herr' else ''} {self.name}"

    @property
    def pronoun(self) -> str:
        return "er" if self.title == "Herr" else "sie"


class Relative(NamedTuple):
    """One of the family, by first name."""

    name: str
    intolerance: str
    birthday: str


def _nouns(text: str) -> tuple[Noun, ...]:
    return tuple(Noun(*line.split("|")) for line in text.splitlines())


def _item(line: str) -> Item:
    name, article, pack, gender, plural, cents, kind = line.split("|")
    return Item(
        Noun(name, article), Noun(pack, {"m": "der", "f": "die", "n": "das"}[gender]), plural, int(cents), int(kind)
    )


def _dish(line: str) -> Dish:
    name, article, minutes, parts = line.split("|")
    found = [part.rsplit(" ", 2) for part in parts.split(", ")]
    return Dish(
        Noun(name, article), int(minutes), tuple(Part(ITEM[word], int(number), unit) for word, number, unit in found)
    )


ITEM = {item.name: item for item in map(_item, ITEMS.splitlines())}
ALL_ITEMS = tuple(ITEM.values())
DISH = tuple(map(_dish, DISHES.splitlines()))
TOOL, DUTY, MEETING, WASTE = _nouns(TOOLS), _nouns(DUTIES), _nouns(MEETINGS), _nouns(WASTES)


def euro(cents: int) -> str:
    return f"{cents // 100},{cents % 100:02d} Euro"


def clock(minutes: int) -> str:
    return f"{minutes // 60}:{minutes % 60:02d} Uhr" if minutes % 60 else f"{minutes // 60} Uhr"


class World:
    """One house with its neighbours, one office, one family; the same seed gives the same facts for ever."""

    def __init__(self, seed: str) -> None:
        self.facts = Facts(seed)
        self._surnames = self.facts.sample(SURNAMES, 11, "surnames")
        self.surname = self._surnames[0]

    @cached_property
    def neighbours(self) -> list[Person]:
        return [self._person(name) for name in self._surnames[1:6]]

    @cached_property
    def colleagues(self) -> list[Person]:
        return [self._person(name) for name in self._surnames[6:10]]

    @property
    def caretaker(self) -> Person:
        return Person("Herr", self._surnames[10], self.facts.pick(MEN, "caretaker"))

    @property
    def address(self) -> str:
        return f"{self.facts.pick(STREETS, 'street')} {1 + self.facts.number('house') % 60}"

    def _person(self, surname: str) -> Person:
        if self.facts.number("title", surname) % 2:
            return Person("Frau", surname, self.facts.pick(WOMEN, "first", surname))
        return Person("Herr", surname, self.facts.pick(MEN, "first", surname))

    @cached_property
    def shops(self) -> list[str]:
        return self.facts.sample(SHOPS, 3, "shops")

    @cached_property
    def names(self) -> list[str]:
        """The family: mother, father, daughter, son."""
        return [
            self.facts.pick(names, who)
            for who, names in (("mother", WOMEN), ("father", MEN), ("girl", GIRLS), ("boy", BOYS))
        ]

    @cached_property
    def family(self) -> list[Relative]:
        return [self._relative(name) for name in self.names]

    def _relative(self, name: str) -> Relative:
        draw = self.facts
        bad = draw.pick(tuple(INTOLERANCES), "bad", name) if draw.number("sick", name) % 5 < 2 else ""
        return Relative(name, bad, f"{1 + draw.number('day', name) % 28}. {draw.pick(MONTHS, 'month', name)}")

    def floor(self, neighbour: Person) -> str:
        floors = ("im Erdgeschoss", "im ersten Stock", "im zweiten Stock", "im dritten Stock", "unter dem Dach")
        return self.facts.sample(floors, 5, "floors")[self.neighbours.index(neighbour)]

    def prices(self, item: Item) -> list[int]:
        found: list[int] = []
        number = self.facts.number("price", item.name)
        for _ in self.shops:
            number, share = divmod(number, 50)
            cents = 5 * round(item.base_cents * (80 + share) / 500) - 1
            while cents in found:
                cents += 10
            found.append(cents)
        return found

    def price(self, item: Item, shop: str) -> int:
        return self.prices(item)[self.shops.index(shop)]

    def cheapest(self, item: Item) -> str:
        prices = self.prices(item)
        return self.shops[prices.index(min(prices))]

    def hours(self, shop: str, day: str) -> tuple[int, int] | None:
        """Return the opening and closing hour, or None on a day off."""
        if day == "Sonntag" or day == self.facts.pick(("Montag", "Mittwoch", "", "", ""), "rest", shop):
            return None
        closes = (
            12 + self.facts.number("saturday", shop) % 5
            if day == "Samstag"
            else 17 + self.facts.number("closes", shop) % 4
        )
        return 7 + self.facts.number("opens", shop) % 3, closes

    def place(self, item: Item) -> str:
        return self.facts.pick(PLACES[item.kind], "place", item.name)

    @cached_property
    def dishes(self) -> list[Dish]:
        return self.facts.sample(DISH, 9, "dishes")

    def dinner(self, day: str) -> Dish:
        return self.dishes[DAYS.index(day)]

    def minutes(self, dish: Dish) -> int:
        return dish.base_minutes + 5 * (self.facts.number("minutes", dish.name) % 3)

    def waste_day(self, waste: Noun) -> str:
        return self.facts.pick(WORKDAYS, "waste", waste.word)

    def laundry_day(self, neighbour: Person) -> str:
        return self.facts.sample(DAYS[:6], 5, "laundry")[self.neighbours.index(neighbour)]

    @property
    def quiet(self) -> tuple[int, int, int, int]:
        """Midday rest and night rest, as hours."""
        noon = self.facts.pick((12, 13), "noon")
        return noon, noon + 2, self.facts.pick((20, 21, 22), "night"), self.facts.pick((6, 7), "morning")

    @property
    def key_holder(self) -> Person:
        return self.facts.pick(self.neighbours, "key")

    def owner(self, tool: Noun) -> Person:
        return self.facts.pick(self.neighbours, "owner", tool.word)

    def room(self, colleague: Person) -> int:
        return self.facts.sample(range(101, 130), 4, "rooms")[self.colleagues.index(colleague)]

    def duty_of(self, duty: Noun) -> Person:
        return self.facts.pick(self.colleagues, "duty", duty.word)

    def deputy(self, colleague: Person) -> Person:
        others = [other for other in self.colleagues if other is not colleague]
        return self.facts.pick(others, "deputy", colleague.surname)

    def appointment(self, meeting: Noun) -> tuple[str, int, int, Person]:
        """Return the day, the start and the length in minutes, and with whom."""
        draw = self.facts
        day, hour = divmod(self._slots[MEETING.index(meeting)], 8)
        start = 60 * (8 + hour) + draw.pick((0, 15, 30, 45), "start", meeting.word)
        return (
            WORKDAYS[day],
            start,
            draw.pick((30, 45, 60, 90), "long", meeting.word),
            draw.pick(self.colleagues, "with", meeting.word),
        )

    @cached_property
    def _slots(self) -> list[int]:
        """An hour of the working week for each meeting, all different."""
        return self.facts.sample(range(40), len(MEETING), "slots")

    @property
    def phone(self) -> str:
        return f"555 {100 + self.facts.number('phone') % 900}"
