"""A distillation as a page, for people who have never seen one: what was kept, what it cost, what text alone gives."""

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from baicai.artefact import write_atomic, write_json
from baicai.distillation.report import plots
from baicai.distillation.report.results import SIGNALS, STARTS, change, check_results, grid, kept, mean_change
from baicai.evaluation.figure_style import drawable
from baicai.evaluation.html_page import facts, figure, name, page, prose, short, table, tiles, undrawn
from baicai.evaluation.tables import MISSING, Cell, mean, percent

_PREFIXES = ("", "k", "M", "G", "T", "P", "E", "Z")
_STYLE = """<style>
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(16rem,100%),1fr));gap:.6rem 1.5rem}
.sample h3{font-size:.85rem;font-weight:500;color:var(--faint);margin:0}.sample{max-height:28rem;overflow:auto}
.sample p{line-height:1.5}summary{margin:.6rem 0;cursor:pointer}strong.lost{color:var(--worse)}</style>"""


def write_report(results: Mapping[str, Any], folder: Path) -> None:
    """Write results.json, the pictures and report.html, a page that loads nothing and runs no script.

    Raises: ArtefactError if the results are malformed, and then nothing is written; MachineError if the disk is full.
    """
    check_results(results)
    parts = (_verdict, _tiles, _quality, _calibration, _cost, _weak, _training, _samples, _origin)
    title = f"Baicai student {name(results['student']['hash'][:12])}"
    html = page(title, _STYLE + "".join(part(results) for part in parts))
    pictures = {picture.__name__: picture(results) for picture in plots.PICTURES}
    write_json(folder / "results.json", results)
    for picture, png in pictures.items():
        write_atomic(folder / f"{picture}.png", png)
    write_atomic(folder / "report.html", html)


def headline(results: Mapping[str, Any]) -> str:
    """Return the result in one sentence.

    Raises: ArtefactError if the results are malformed.
    """
    check_results(results)
    size = _size(results)
    said = f"The student keeps {100 * results['kept']:.1f} % of the teacher's quality at {size} of its size"
    against = mean_change(results)
    if against is None:
        return said
    twin = "a twin that cost as much to train and had no teacher"
    if abs(against) < 0.05:
        return f"{said}, and is as good as {twin}"
    much = f"{abs(against):.1f} %"
    return f"{said}, and is {much} better than {twin}" if against < 0 else f"{said}, but is {much} worse than {twin}"


def _verdict(results: Mapping[str, Any]) -> str:
    student, quality = results["student"], results["quality"]
    lost = [domain for domain in results["wanted"] if (change(quality[domain]) or 0) > 0]
    dropped = mean([kept(quality[domain]) for domain in results["dropped"]]) if results["dropped"] else None
    said = [f"It began as {STARTS[student['start']]}, and learnt from {SIGNALS[student['signal']]}."]
    if lost:
        names = ", ".join(short(domain) for domain in lost[:5]) + (f" and {len(lost) - 5} more" if lost[5:] else "")
        share = f"{len(lost)} of {len(results['wanted'])} wanted abilities"
        said.append(f'<strong class="lost">On {share} its twin is better: {names}.</strong>')
    elif all(change(quality[domain]) is None for domain in results["wanted"]):
        said.append("No untaught twin was trained, so what the teacher was worth is not known.")
    if dropped is not None:
        said.append(f"What was dropped it was not taught: of that it keeps {dropped:.1f} %.")
    return (
        f'<p class="kicker">白菜 Baicai · student <code>{name(student["hash"][:12])}</code> of '
        f"{short(results['teacher']['name'])}</p>"
        f"<h1>{escape(headline(results)).replace(' %', '&nbsp;%')}</h1><p>{' '.join(said)}</p>"
    )


def _tiles(results: Mapping[str, Any]) -> str:
    teacher, student = results["size"]["teacher"], results["size"]["student"]
    flops, speed = results["flops"], results["speed"]
    eight = f", {_scaled(student['q8_bytes'], 'B')} in 8 bits" if student["q8_bytes"] is not None else ""
    slow = f"; the teacher makes {_number(speed['teacher'])}" if speed["teacher"] is not None else ""
    twin = f"; its twin got {_scaled(flops['untaught'])}" if flops["untaught"] is not None else ""
    counts = (_scaled(one["parameters"], "").strip() for one in (student, teacher))
    against = mean_change(results)
    values = {"of the teacher's quality is kept on what was wanted": f"{100 * results['kept']:.1f} %"}
    if against is not None:
        values["bits per byte against its untaught twin; below 0 is better"] = percent(against)
    return tiles(
        values
        | {
            f"of the teacher's size: {' of '.join(counts)} parameters": _size(results),
            f"of memory for its weights{eight}; the teacher takes {_scaled(teacher['bytes'], 'B')}": _scaled(
                student["bytes"], "B"
            ),
            f"tokens per second where it was made{slow}": _number(speed["student"]),
            f"operations to train it, {_scaled(flops['teacher'])} of them its teacher's{twin}": _scaled(
                flops["teacher"] + flops["student"]
            ),
        }
    )


def _quality(results: Mapping[str, Any]) -> str:
    rows = {domain: {**row, "kept": kept(row)} for domain, row in results["quality"].items()}
    ring, twin = "the student at the start", ""
    if plots.ring(results) == "untaught":
        ring = "the untaught twin"
        twin = (
            "The <em>untaught twin</em> is the same student, trained without a teacher for as many operations as the "
            "student and its teacher took together. "
        )
    return (
        "<h2>How well it predicts text</h2>"
        '<p class="note">Bits per byte: how many bits a model needs for one byte of text it has not seen. Lower is '
        f"better. {twin}<em>Kept</em> is the teacher's bits over the student's: at 100&nbsp;% nothing was lost. What "
        "was not <em>wanted</em> was dropped, and is measured to show the price. The best of each row is <b>bold</b>, "
        "the teacher left out.</p>"
        + table(*grid(results, rows, lambda bits: f"{bits:.3f}"))
        + figure(
            plots.quality,
            results,
            f"Each row runs from {ring} (ring) to the student (dot): further left is better. The bar is the teacher.",
            "An orange row is one where the ring is better.",
            *undrawn(drawable(results["quality"])),
        )
    )


def _calibration(results: Mapping[str, Any]) -> str:
    return (
        "<h2>Does it know how sure it may be?</h2>"
        '<p class="note">Expected calibration error: a model that says 80&nbsp;% should be right 8 times in 10. This '
        "is by how much it is off, on average over all that it says. 0 is best.</p>"
        + table(*grid(results, results["calibration"], lambda error: f"{100 * error:.1f} %"))
        + figure(
            plots.calibration,
            results,
            "Each row runs from the student at the start (ring) to the student now (dot); the bar is the teacher. An "
            "orange row became worse.",
        )
    )


def _cost(results: Mapping[str, Any]) -> str:
    flops, cache, speed = results["flops"], results["cache"], results["speed"]
    teacher, student = results["size"]["teacher"], results["size"]["student"]
    lines = (
        ("parameters", teacher["parameters"], student["parameters"]),
        ("bytes of weights", teacher["bytes"], student["bytes"]),
        ("bytes, student in 8 bits", teacher["bytes"], student["q8_bytes"]),
        ("tokens per second", speed["teacher"], speed["student"]),
    )
    rows = []
    for label, whole, part in lines:
        if part is not None:
            share = f"{_number(100 * part / whole)} %" if whole else MISSING
            texts = [label, MISSING if whole is None else _number(whole), _number(part), share]
            rows.append(([Cell(text) for text in texts], False))
    training = {
        "the teacher, reading": flops["teacher"],
        "the student, learning": flops["student"],
        "together": flops["teacher"] + flops["student"],
        "the untaught twin": flops["untaught"],
    }
    pairs = [(label, _scaled(value)) for label, value in training.items() if value is not None]
    asked = ""
    if cache is not None:
        asked = (
            f'<p class="note">What the teacher said takes {_scaled(cache["bytes"], "B")}: {cache["samples"]} tokens '
            f"drawn at each position, {cache['bytes_per_token']:.1f} bytes. Another student that reads the same text "
            "can learn from it without asking the teacher again.</p>"
        )
    return (
        '<h2>What it costs</h2><p class="note">Speed was measured where the student was made. Operations are the '
        "additions and multiplications of training: 1 GFLOP is a billion, 1 TFLOP a thousand of these, 1 PFLOP a "
        "million.</p>"
        + table(["", "teacher", "student", "of the teacher"], rows)
        + table(["training", "operations"], [([Cell(text) for text in pair], pair[0] == "together") for pair in pairs])
        + asked
    )


def _weak(results: Mapping[str, Any]) -> str:
    weak, grown = results["weak"], results["reinforced"]
    if not weak:
        return ""
    rows, examples = [], ""
    for domain, found in weak.items():
        asked = MISSING if found["wrong"] is None else f"{found['wrong']:,} of {found['answers']:,}"
        worse = f"{found['worse']:,} of {found['documents']:,}" if found["documents"] else MISSING
        texts = [domain, worse, asked, "yes" if domain in grown else "no"]
        rows.append(([Cell(text) for text in texts], False))
        boxes = "".join(
            f'<div class="sample"><h3>teacher {one["teacher"]:.2f}, {short(one["who"])} {one["other"]:.2f} nats a '
            f"token</h3><p>{prose(one['text'])}</p></div>"
            for one in found["examples"]
        )
        examples += f"<details><summary>Examples of {short(domain)}</summary>{boxes}</details>" if boxes else ""
    heads = ["domain", "another predicts better", "wrong answers", "reinforced"]
    return (
        "<h2>Where the teacher is weak on your text</h2>"
        '<p class="note">Documents that a smaller model or a leaf predicts better than the teacher, and questions that '
        "the teacher answers wrongly, where the text has some. An ability is <em>reinforced</em> if a leaf was grown "
        f"for it on the teacher before the student was taught.</p>{table(heads, rows)}{examples}"
    )


def _training(results: Mapping[str, Any]) -> str:
    drawn = ""
    if any(results["curves"].values()):
        drawn += figure(
            plots.curves,
            results,
            "Loss on the text that was learned from. A student's may count how far it is from its teacher too, a "
            "twin's is of text alone: compare the shapes here, and who predicts better in the table above.",
        )
    if results["mix"]:
        drawn += figure(
            plots.mix,
            results,
            "What the student read, and by how much its teacher was ahead of it at that time. A row is an ability, "
            "time runs to the right; the darker the cell (brighter on a dark page), the more. Beside a row: its last "
            "value.",
        )
    return f"<h2>How it was trained</h2>{drawn}" if drawn else ""


def _samples(results: Mapping[str, Any]) -> str:
    boxes = ""
    for sample in results["samples"]:
        answers = "".join(f"<div><h3>{who}</h3><p>{prose(sample[who])}</p></div>" for who in ("teacher", "student"))
        boxes += (
            f'<div class="sample"><h3>{short(sample["domain"])}</h3><p class="prompt">{prose(sample["prompt"])}</p>'
            f'<div class="pair">{answers}</div></div>'
        )
    return f"<h2>What they say</h2>{boxes}" if boxes else ""


def _origin(results: Mapping[str, Any]) -> str:
    made = {"teacher": results["teacher"]["name"], "teacher's hash": results["teacher"]["hash"]}
    made |= {"student's hash": results["student"]["hash"]}
    made |= {f"leaf {domain}": digest for domain, digest in results["reinforced"].items()}
    rows = [
        ([Cell(domain), Cell(f"{count:,}"), Cell(f"{results['wanted'].get(domain, 0):g}")], False)
        for domain, count in results["bytes"].items()
    ]
    return (
        facts("What it is made of", {part: f"<code>{name(value)}</code>" for part, value in made.items()})
        + f"<h2>What it was measured on</h2>{table(['domain', 'bytes of held-out text', 'wanted'], rows)}"
    )


def _size(results: Mapping[str, Any]) -> str:
    size = results["size"]
    return f"{_number(100 * size['student']['parameters'] / size['teacher']['parameters'])} %"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _scaled(value: float, unit: str = "FLOP") -> str:
    """Return three digits with a decimal prefix, such as 1.23 PFLOP."""
    power = min(len(_PREFIXES) - 1, (len(str(int(value))) - 1) // 3)
    return f"{float(f'{value / 1000**power:.3g}'):g} {_PREFIXES[power]}{unit}"
