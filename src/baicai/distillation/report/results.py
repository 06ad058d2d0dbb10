"""The results of a distillation as stored in `results.json`, and the figures derived from them."""

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, StrictInt, StrictStr, model_validator

from baicai.evaluation.formatting import NO_VALUE
from baicai.evaluation.results import CurvePoint, Number, Results, reject
from baicai.evaluation.tables import TableCell, TableData, TableRow, mean

COLUMN_TITLES = {
    **{"teacher": "teacher", "baseline": "baseline", "start": "at the start", "untaught": "untaught twin"},
    **{"student": "student", "q8": "student, 8-bit", "kept": "kept"},
}
"""Columns of a comparison, in order, with their headers."""
Positive = Annotated[Number, Field(gt=0)]
Scores = Mapping[str, float | None]
"""Scores of one domain by column."""


class TeacherInfo(BaseModel):
    """The teacher's path and hash."""

    name: StrictStr
    hash: StrictStr


class StudentInfo(BaseModel):
    """The student's hash, where its weights came from and what it learned from."""

    hash: StrictStr
    start: Literal["slices", "dense", "pruned", "fresh"]
    signal: Literal["cache", "online", "sequences", "none"]


class Quality(BaseModel):
    """Bits per byte of each model on one domain."""

    teacher: Positive
    baseline: Positive | None
    start: Positive
    student: Positive
    untaught: Positive | None
    q8: Positive | None

    @property
    def kept(self) -> float:
        """The share of the teacher's quality that the student keeps, in percent."""
        return 100 * self.teacher / self.student

    @property
    def change(self) -> float | None:
        """The student's bits per byte against its untaught twin's in percent; negative is better."""
        return None if self.untaught is None else 100 * (self.student / self.untaught - 1)


class CalibrationErrors(BaseModel):
    """Expected calibration error of each model on one domain, from 0 to 1."""

    teacher: Number
    start: Number
    student: Number
    untaught: Number | None


class WeakExample(BaseModel):
    """A document that another model predicts better than the teacher; losses are in nats per token."""

    text: StrictStr
    teacher: Number
    other: Number
    who: StrictStr
    """The other model."""


class WeakDomain(BaseModel):
    """Counts of the documents on which the teacher is worse than others, and of its wrong answers."""

    documents: StrictInt
    worse: StrictInt
    wrong: StrictInt | None
    answers: StrictInt
    examples: list[WeakExample]


class TeacherSize(BaseModel):
    """The teacher's parameters and the bytes of its weights."""

    parameters: Annotated[StrictInt, Field(gt=0)]
    bytes: Annotated[StrictInt, Field(gt=0)]


class StudentSize(BaseModel):
    """The student's parameters and the bytes of its weights, as stored and in 8 bits."""

    parameters: StrictInt
    bytes: StrictInt
    q8_bytes: StrictInt | None


class Sizes(BaseModel):
    """The sizes of both models."""

    teacher: TeacherSize
    student: StudentSize


class Speed(BaseModel):
    """Tokens per second when generating one text on the machine that made the student."""

    teacher: Number | None
    student: Number


class TrainingFlops(BaseModel):
    """Operations spent on reading by the teacher and on training the student and its untaught twin."""

    teacher: Number
    student: Number
    untaught: Number | None


class CacheSummary(BaseModel):
    """Size of the cached teacher logits and the number of samples per position."""

    bytes: StrictInt
    bytes_per_token: Number
    samples: StrictInt


class LossCurves(BaseModel):
    """Training loss of the student and of its untaught twin."""

    student: list[CurvePoint]
    untaught: list[CurvePoint]


class MixPoint(BaseModel):
    """Each domain's share of the training text, and its gap to the teacher in bits per byte, at one step."""

    tokens: Number
    shares: dict[str, Number]
    gaps: dict[str, Number]


class AnswerSample(BaseModel):
    """A prompt from a domain's held-out text and how both models continue it."""

    domain: StrictStr
    prompt: StrictStr
    teacher: StrictStr
    student: StrictStr


class DistillationResults(Results):
    """What `baicai distill` measures of a teacher and its student."""

    format: Literal[1]
    teacher: TeacherInfo
    student: StudentInfo
    quality: dict[str, Quality]
    """Bits per byte by domain."""
    calibration: dict[str, CalibrationErrors]
    """Expected calibration error by domain."""
    bytes: dict[str, StrictInt]
    """Bytes of held-out text by domain."""
    wanted: dict[str, Number]
    """Domains that the student was taught, with their weights."""
    dropped: list[StrictStr]
    """Domains that were measured but not taught."""
    kept: Number
    """Mean share of the teacher's quality kept on the wanted domains, from 0 to 1."""
    weak: dict[str, WeakDomain]
    reinforced: dict[str, StrictStr]
    """Hash of the leaf that was grown on the teacher for each reinforced domain."""
    size: Sizes
    speed: Speed
    flops: TrainingFlops
    cache: CacheSummary | None
    curves: LossCurves
    mix: list[MixPoint]
    samples: list[AnswerSample]

    def domain_groups(self) -> dict[str, list[str]]:
        """List the wanted domains and, if there are any, the dropped ones."""
        return {"wanted": list(self.wanted)} | ({"dropped": self.dropped} if self.dropped else {})

    def mean_change(self) -> float | None:
        """Compute the mean change against the untaught twin over the wanted domains, in percent."""
        return mean([self.quality[domain].change for domain in self.wanted])

    @model_validator(mode="after")
    def _check_domains(self) -> Self:
        if not self.wanted:
            reject("wanted", "is empty")
        _check_names("quality", self.quality, [*self.wanted, *self.dropped])
        if len({*self.wanted, *self.dropped}) < len(self.wanted) + len(self.dropped):
            reject("dropped", "names a wanted domain, or a domain twice")
        _check_names("calibration", self.calibration, self.quality)
        _check_names("bytes", self.bytes, self.quality)
        for index, point in enumerate(self.mix):
            _check_names(f"mix[{index}].shares", point.shares, self.wanted)
            _check_names(f"mix[{index}].gaps", point.gaps, self.wanted)
        return self


def comparison_table(
    results: DistillationResults, scores: Mapping[str, Scores], formatted: Callable[[float], str]
) -> TableData:
    """Tabulate scores by domain and model, with the means of each group of domains.

    The best score of a row, the lowest, is marked; the teacher does not compete. A column without values is left out.
    """
    columns = [column for column in COLUMN_TITLES if any(row.get(column) is not None for row in scores.values())]
    rows = []
    for title, domains in results.domain_groups().items():
        group = [{column: scores[domain][column] for column in columns} for domain in domains]
        means = {column: mean([row[column] for row in group]) for column in columns}
        rows += [TableRow([TableCell(name), *_cells(row, formatted)]) for name, row in zip(domains, group, strict=True)]
        rows.append(TableRow([TableCell(f"mean, {title}"), *_cells(means, formatted)], is_mean=True))
    return TableData(["domain", *(COLUMN_TITLES[column] for column in columns)], rows)


def _cells(row: Scores, formatted: Callable[[float], str]) -> list[TableCell]:
    rivals = {name: value for name, value in row.items() if name not in ("teacher", "kept") and value is not None}
    best = formatted(min(rivals.values()))
    texts = {name: NO_VALUE if value is None else formatted(value) for name, value in row.items()}
    texts |= {"kept": f"{row['kept']:.1f} %"} if "kept" in row else {}
    return [TableCell(text, name in rivals and text == best) for name, text in texts.items()]


def _check_names(key: str, names: Iterable[str], expected: Iterable[str]) -> None:
    for name in sorted({*names} ^ {*expected}):
        reject(f"{key}.{name}", "is missing" if name in expected else "names a domain that is not among the results")
