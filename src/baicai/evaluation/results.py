"""The results of an evaluation as stored in `results.json`, checked when they are read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, NoReturn, Self

from pydantic import BaseModel, PlainValidator, StrictInt, StrictStr, ValidationError, model_validator

from baicai.artefact import read_json, write_json
from baicai.errors import ArtefactError
from baicai.evaluation.formatting import printable

RESERVED_COLUMNS = ("domain", "which", "change", "best leaf")
"""Headers that tables add to the measured columns."""


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e30:
        raise ValueError("must be a finite number")
    return value


Number = Annotated[float, PlainValidator(_number)]
"""A finite number; an integer stays one, so that results are written as they were read."""


class Results(BaseModel):
    """Base of the results that are stored as JSON."""

    @classmethod
    def parse(cls, values: object) -> Self:
        """Check plain JSON values and convert them to typed results.

        Raises: ArtefactError that names the first key that is wrong.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ArtefactError(f"results: {_explain(error)}: measure the model again") from None

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read results from a JSON file.

        Raises: ArtefactError if the file is missing, damaged or malformed.
        """
        return cls.parse(read_json(path))

    def write(self, path: Path) -> None:
        """Write the results as JSON.

        Raises: MachineError if the disk is full.
        """
        write_json(path, self.model_dump())


class Routing(BaseModel):
    """Mean routing weights: `share[domain][layer][leaf]`."""

    leaves: list[StrictStr]
    layers: list[StrictInt]
    share: dict[str, list[list[Number]]]


class CurvePoint(BaseModel):
    """One point of a loss curve: the loss, in nats per token, after a number of training tokens."""

    tokens: Number
    loss: Number


class CostSummary(BaseModel):
    """The counts of `baicai.model.cost.Cost`."""

    embedding_parameters: Number
    total_parameters: Number
    active_parameters: Number
    active_share: Number
    flops_per_token: Number
    bytes_per_token: Number


class Summary(BaseModel):
    """Retention of the leaves' gain in the joined model, and joined over trunk on the domains without a leaf."""

    retention_mean: Number | None
    retention_worst: Number | None
    off_domain_ratio: Number | None


class SamplePiece(BaseModel):
    """A part of a generated answer and the leaf with the largest routing weight in it, None for the trunk."""

    text: StrictStr
    leaf: StrictStr | None
    weight: Number | None


class Sample(BaseModel):
    """A prompt and the generated answer."""

    prompt: StrictStr
    pieces: list[SamplePiece]


class EvaluationResults(Results):
    """What `baicai evaluate` measures: hashes, bits per byte by domain and column, routing, cost and curves."""

    format: Literal[1]
    model: StrictStr
    """Hash of the model."""
    trunk: StrictStr
    """Hash of the trunk."""
    leaves: dict[str, StrictStr]
    """Hash of each leaf."""
    columns: list[StrictStr]
    """The trunk, each leaf alone, the joined model and the oracle, where they were measured."""
    bits_per_byte: dict[str, dict[str, Number | None]]
    """Bits per byte by domain and column."""
    bytes: dict[str, StrictInt]
    """Bytes of held-out text by domain."""
    routing: Routing
    curves: dict[str, list[CurvePoint]]
    """Training loss of the trunk and of each leaf."""
    cost: CostSummary
    summary: Summary
    samples: list[Sample]

    @model_validator(mode="after")
    def _check(self) -> Self:
        self._check_scores()
        self._check_routing()
        for number, sample in enumerate(self.samples):
            for index, piece in enumerate(sample.pieces):
                if piece.leaf is not None and piece.leaf not in self.leaves:
                    reject(f"samples[{number}].pieces[{index}].leaf", f"is '{piece.leaf}', which is not a leaf")
        return self

    def _check_scores(self) -> None:
        columns = self.columns
        if "trunk" not in columns or len(set(columns)) < len(columns) or set(RESERVED_COLUMNS) & set(columns):
            reject("columns", f"must include 'trunk', without duplicates or any of {', '.join(RESERVED_COLUMNS)}")
        for name in {"trunk", "joined", "oracle"} & set(self.leaves):
            reject(f"leaves.{name}", "has the name of another column")
        if not self.bits_per_byte:
            reject("bits_per_byte", "is empty")
        for domain, scores in self.bits_per_byte.items():
            if (scores.get("trunk") or 0) <= 0:
                reject(f"bits_per_byte.{domain}.trunk", "must be greater than 0")
            for column in scores:
                if column not in columns:
                    reject(f"bits_per_byte.{domain}.{column}", "is not among the columns")

    def _check_routing(self) -> None:
        routing = self.routing
        for index, name in enumerate(routing.leaves):
            if name not in self.leaves:
                reject(f"routing.leaves[{index}]", f"is '{name}', which is not among the leaves")
        for domain, layers in routing.share.items():
            if len(layers) != len(routing.layers):
                reject(f"routing.share.{domain}", f"has {len(layers)} layers, expected {len(routing.layers)}")
            for index, weights in enumerate(layers):
                if len(weights) != len(routing.leaves):
                    expected = len(routing.leaves)
                    reject(f"routing.share.{domain}[{index}]", f"has {len(weights)} leaves, expected {expected}")


def reject(key: str, problem: str) -> NoReturn:
    """Reject results in a validator.

    Raises: ValueError that names the key and its problem.
    """
    raise ValueError(f"key '{key}' {problem}")


def _explain(error: ValidationError) -> str:
    """Describe the first error in one line."""
    first = error.errors(include_url=False)[0]
    key = _path(first["loc"])
    problem = first["msg"].removeprefix("Value error, ").partition(" or instance")[0]
    problem = problem.replace("Input should be", "must be").replace("Field required", "is missing")
    return printable(f"key '{key}' {problem}" if key else problem)


def _path(location: Sequence[int | str]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).removeprefix(".")
