"""What a distillation measured: the plain dict of its results.json, checked, and what follows from it."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from baicai.evaluation.tables import MISSING, Cell, check_shape, mean, wrong

STARTS = {
    "slices": "slices of the teacher: its trunk, narrower and flatter",
    "dense": "the teacher's trunk, with the experts of the wanted leaves in its feed-forward",
    "pruned": "the teacher itself, with the experts it uses most on the wanted text",
    "fresh": "random weights",
}
SIGNALS = {
    "cache": "tokens drawn from the teacher once and kept",
    "online": "the teacher's whole distribution, asked for at every step",
    "sequences": "text that the teacher wrote",
    "none": "text alone, without its teacher",
}
PARTIES = {
    **{"teacher": "teacher", "baseline": "baseline", "start": "at the start", "untaught": "untaught twin"},
    **{"student": "student", "q8": "student, 8-bit", "kept": "kept"},
}
"""The columns of a table, in their order, and their heads."""
_SIZE = {"parameters": int, "bytes": int}
_SPEC = {
    "format": int,
    "teacher": {"name": str, "hash": str},
    "student": {"hash": str, "start": str, "signal": str},
    "quality": {
        str: {
            **{"teacher": float, "baseline": (float,), "start": float},
            **{"student": float, "untaught": (float,), "q8": (float,)},
        }
    },
    "calibration": {str: {"teacher": float, "start": float, "student": float, "untaught": (float,)}},
    "bytes": {str: int},
    "wanted": {str: float},
    "dropped": [str],
    "kept": float,
    "weak": {
        str: {
            **{"documents": int, "worse": int, "wrong": (int,), "answers": int},
            "examples": [{"text": str, "teacher": float, "other": float, "who": str}],
        }
    },
    "reinforced": {str: str},
    "size": {"teacher": _SIZE, "student": {**_SIZE, "q8_bytes": (int,)}},
    "speed": {"teacher": (float,), "student": float},
    "flops": {"teacher": float, "student": float, "untaught": (float,)},
    "cache": ({"bytes": int, "bytes_per_token": float, "samples": int},),
    "curves": {name: [{"tokens": float, "loss": float}] for name in ("student", "untaught")},
    "mix": [{"tokens": float, "shares": {str: float}, "gaps": {str: float}}],
    "samples": [{"domain": str, "prompt": str, "teacher": str, "student": str}],
}


def check_results(results: Mapping[str, Any]) -> None:
    """Check that a results dict has the shape that the pictures and the report read.

    Raises: ArtefactError that names the first key that is wrong.
    """
    check_shape(results, _SPEC)
    if results["format"] != 1:
        wrong("format", f"is {results['format']}, this version reads 1")
    for key, known in (("start", STARTS), ("signal", SIGNALS)):
        if results["student"][key] not in known:
            wrong(f"student.{key}", f"is '{results['student'][key]}', not one of {', '.join(known)}")
    for key, size in results["size"]["teacher"].items():
        if size <= 0:
            wrong(f"size.teacher.{key}", "must be above 0")
    _check_domains(results)


def groups(results: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the domains that were wanted, and those that were dropped if there are any."""
    return {"wanted": list(results["wanted"])} | ({"dropped": results["dropped"]} if results["dropped"] else {})


def kept(row: Mapping[str, float]) -> float:
    """Return what the student keeps of the teacher's quality on a domain, in percent."""
    return 100 * row["teacher"] / row["student"]


def change(row: Mapping[str, float | None]) -> float | None:
    """Return the student's bits per byte against its untaught twin's in percent; below zero is better."""
    student, untaught = row["student"], row["untaught"]
    assert student is not None
    return None if untaught is None else 100 * (student / untaught - 1)


def mean_change(results: Mapping[str, Any]) -> float | None:
    """Return the mean of `change` over what was wanted."""
    return mean([change(results["quality"][domain]) for domain in results["wanted"]])


def grid(
    results: Mapping[str, Any], rows: Mapping[str, Mapping[str, float | None]], shown: Callable[[float], str]
) -> tuple[list[str], list[tuple[list[Cell], bool]]]:
    """Return heads, and cells of each domain and of the means, with whether they are means.

    The best of a row, the lowest, is marked, the teacher left out; a party that is missing everywhere has no column.
    """
    parties = [party for party in PARTIES if any(row.get(party) is not None for row in rows.values())]
    body = []
    for title, domains in groups(results).items():
        lines = {domain: {party: rows[domain][party] for party in parties} for domain in domains}
        means = {party: mean([row[party] for row in lines.values()]) for party in parties}
        body += [([Cell(domain), *_cells(row, shown)], False) for domain, row in lines.items()]
        body.append(([Cell(f"mean, {title}"), *_cells(means, shown)], True))
    return ["domain", *(PARTIES[party] for party in parties)], body


def _cells(row: Mapping[str, float | None], shown: Callable[[float], str]) -> list[Cell]:
    rivals = {party: value for party, value in row.items() if party not in ("teacher", "kept") and value is not None}
    best = shown(min(rivals.values()))
    texts = {party: MISSING if value is None else shown(value) for party, value in row.items()}
    texts |= {"kept": f"{row['kept']:.1f} %"} if "kept" in row else {}
    return [Cell(text, party in rivals and text == best) for party, text in texts.items()]


def _check_domains(results: Mapping[str, Any]) -> None:
    quality, wanted, dropped = results["quality"], results["wanted"], results["dropped"]
    if not wanted:
        wrong("wanted", "is empty")
    _check_names("quality", quality, [*wanted, *dropped])
    if len({*wanted, *dropped}) < len(wanted) + len(dropped):
        wrong("dropped", "names a domain that is wanted, or one twice")
    for domain, row in quality.items():
        for party in row:
            if row[party] is not None and row[party] <= 0:
                wrong(f"quality.{domain}.{party}", "must be above 0")
    for key in ("calibration", "bytes"):
        _check_names(key, results[key], quality)
    for index, point in enumerate(results["mix"]):
        for key in ("shares", "gaps"):
            _check_names(f"mix[{index}].{key}", point[key], wanted)


def _check_names(key: str, names: Iterable[str], expected: Iterable[str]) -> None:
    for domain in sorted({*names} ^ {*expected}):
        wrong(f"{key}.{domain}", "is missing" if domain in expected else "is of a domain that has no place here")
