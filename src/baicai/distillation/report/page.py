"""The distillation report: what the student kept, what it cost, and how it compares with training on text alone."""

from collections.abc import Mapping
from pathlib import Path

from baicai.artefact import write_atomic
from baicai.distillation.report import plots
from baicai.distillation.report.results import DistillationResults, comparison_table
from baicai.evaluation.figure_style import figure_labels
from baicai.evaluation.formatting import NO_VALUE, percent
from baicai.evaluation.html_page import draw_picture, missing_glyphs, render_page
from baicai.evaluation.tables import TableData, mean, table_row

_TEMPLATE = Path(__file__).parent / "templates" / "distillation_report.html"
_PREFIXES = ("", "k", "M", "G", "T", "P", "E", "Z")


def write_report(results: DistillationResults, folder: Path) -> None:
    """Write results.json, the plots and report.html, a self-contained page.

    Raises: MachineError if the disk is full.
    """
    quality, cache = results.quality, results.cache
    page = render_page(
        _TEMPLATE,
        results=results,
        headline=distillation_headline(results),
        tiles=_tiles(results),
        dropped_kept=mean([quality[domain].kept for domain in results.dropped]) if results.dropped else None,
        lost=[domain for domain in results.wanted if (quality[domain].change or 0) > 0],
        has_twin=any(quality[domain].change is not None for domain in results.wanted),
        reference=plots.reference_column(results),
        quality_table=comparison_table(
            results, {domain: row.model_dump() | {"kept": row.kept} for domain, row in quality.items()}, "{:.3f}".format
        ),
        calibration_table=comparison_table(
            results,
            {domain: row.model_dump() for domain, row in results.calibration.items()},
            lambda error: f"{100 * error:.1f} %",
        ),
        cost_table=_cost_table(results),
        training_table=_training_table(results),
        cache_size=None if cache is None else _scaled(cache.bytes, "B"),
        weak_table=_weak_table(results),
        pictures={plot.__name__: draw_picture(plot, results) for plot in plots.PLOTS},
        missing_glyphs=missing_glyphs(figure_labels(quality)),
        hashes={
            "teacher": results.teacher.name,
            "teacher's hash": results.teacher.hash,
            "student's hash": results.student.hash,
        }
        | {f"leaf {domain}": digest for domain, digest in results.reinforced.items()},
        data_table=TableData(
            ["domain", "bytes", "training weight"],
            [table_row(name, f"{n:,}", f"{results.wanted.get(name, 0):g}") for name, n in results.bytes.items()],
        ),
    )
    results.write(folder / "results.json")
    for plot in plots.PLOTS:
        write_atomic(folder / f"{plot.__name__}.png", plot(results))
    write_atomic(folder / "report.html", page)


def distillation_headline(results: DistillationResults) -> str:
    """Summarize the results in one sentence."""
    headline = f"The student keeps {100 * results.kept:.1f} % of the teacher's quality at {_size(results)} of its size"
    change = results.mean_change()
    if change is None:
        return headline
    twin = "a twin trained at the same cost without a teacher"
    if abs(change) < 0.05:
        return f"{headline}, and is as good as {twin}"
    conjunction, direction = ("and", "better") if change < 0 else ("but", "worse")
    return f"{headline}, {conjunction} is {abs(change):.1f} % {direction} than {twin}"


def _tiles(results: DistillationResults) -> dict[str, str]:
    teacher, student, flops, speed = results.size.teacher, results.size.student, results.flops, results.speed
    eight = f", {_scaled(student.q8_bytes, 'B')} in 8 bits" if student.q8_bytes is not None else ""
    slow = f"; the teacher reaches {_number(speed.teacher)}" if speed.teacher is not None else ""
    twin = f"; its twin used {_scaled(flops.untaught)}" if flops.untaught is not None else ""
    counts = (_scaled(model.parameters, "").strip() for model in (student, teacher))
    change = results.mean_change()
    values = {
        "of the teacher's quality is kept on the wanted domains": f"{100 * results.kept:.1f} %",
        "bits per byte against its untaught twin; negative is better": None if change is None else percent(change),
        f"of the teacher's size: {' of '.join(counts)} parameters": _size(results),
        f"of memory for its weights{eight}; the teacher needs {_scaled(teacher.bytes, 'B')}": _scaled(
            student.bytes, "B"
        ),
        f"tokens per second on the machine that made it{slow}": _number(speed.student),
        f"operations to train it, {_scaled(flops.teacher)} of them by the teacher{twin}": _scaled(
            flops.teacher + flops.student
        ),
    }
    return {label: value for label, value in values.items() if value is not None}


def _cost_table(results: DistillationResults) -> TableData:
    teacher, student, speed = results.size.teacher, results.size.student, results.speed
    costs: Mapping[str, tuple[float | None, float | None]] = {
        "parameters": (teacher.parameters, student.parameters),
        "bytes of weights": (teacher.bytes, student.bytes),
        "bytes, student in 8 bits": (teacher.bytes, student.q8_bytes),
        "tokens per second": (speed.teacher, speed.student),
    }
    rows = []
    for label, (teachers, students) in costs.items():
        if students is not None:
            share = f"{_number(100 * students / teachers)} %" if teachers else NO_VALUE
            rows.append(table_row(label, NO_VALUE if teachers is None else _number(teachers), _number(students), share))
    return TableData(["", "teacher", "student", "of the teacher"], rows)


def _training_table(results: DistillationResults) -> TableData:
    flops = results.flops
    rows = [
        table_row("teacher, forward passes", _scaled(flops.teacher)),
        table_row("student, training", _scaled(flops.student)),
        table_row("total", _scaled(flops.teacher + flops.student), is_mean=True),
    ]
    if flops.untaught is not None:
        rows.append(table_row("untaught twin", _scaled(flops.untaught)))
    return TableData(["training", "operations"], rows)


def _weak_table(results: DistillationResults) -> TableData:
    rows = []
    for domain, weak in results.weak.items():
        worse = f"{weak.worse:,} of {weak.documents:,}" if weak.documents else NO_VALUE
        wrong = NO_VALUE if weak.wrong is None else f"{weak.wrong:,} of {weak.answers:,}"
        rows.append(table_row(domain, worse, wrong, "yes" if domain in results.reinforced else "no"))
    return TableData(["domain", "others predict better", "wrong answers", "reinforced"], rows)


def _size(results: DistillationResults) -> str:
    return f"{_number(100 * results.size.student.parameters / results.size.teacher.parameters)} %"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _scaled(value: float, unit: str = "FLOP") -> str:
    """Format a value as three digits with a decimal prefix, such as 1.23 PFLOP."""
    power = min(len(_PREFIXES) - 1, (len(str(int(value))) - 1) // 3)
    return f"{float(f'{value / 1000**power:.3g}'):g} {_PREFIXES[power]}{unit}"
