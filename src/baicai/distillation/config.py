"""What `baicai distill` is told."""

import dataclasses
import re
from typing import Annotated, Literal

from pydantic import Field

from baicai.config import Count, Share, recipe
from baicai.data.sources import Sources
from baicai.distillation.sizing import Target
from baicai.errors import ConfigError
from baicai.leaves.leaf import check_leaf_name
from baicai.model.config import LeafConfig
from baicai.training.config import TrainConfig

Start = Literal["slices", "dense", "pruned", "fresh"]
FOLDER = r"\w[\w-]{0,63}"
"""Names of domains that can be names of folders."""


@recipe
class TeachConfig:
    """How a student learns from its teacher."""

    signal: Literal["cache", "online", "sequences", "none"] = "cache"
    """Cache: tokens drawn from the teacher once, and read again by every student. Online: its whole distribution, asked
    at every step. Sequences: text that it writes, for a student with another tokenizer. None: real text alone."""
    divergence: Literal["forward_kl", "reverse_kl", "jensen_shannon"] = "forward_kl"
    beta: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Of jensen_shannon: the teacher's part of the mixture that both are compared with."""
    temperature: Annotated[float, Field(ge=0.01, le=100)] = 1.0
    """Softens both distributions."""
    share: Share = 0.5
    """Of the loss, what follows the teacher; the rest follows real text. Of sequences: the share of all text."""
    gate: Literal["ability", "document", "token", "off"] = "ability"
    """Where the teacher is not followed: abilities whose held-out text, or documents or tokens of the training text,
    the student predicts at least as well by now."""
    samples: Annotated[int, Field(ge=1, le=256)] = 12
    """Tokens drawn of each position for the cache."""
    cache: str | None = None
    """Folder of the cache; by default it is kept in the project's home folder, where other students find it."""
    on_policy: Share = 0.0
    """Share of the steps in which the student goes on from real text itself, and the teacher judges that."""

    def __post_init__(self) -> None:
        plain = self.divergence == "forward_kl" and self.temperature == 1
        if self.signal == "cache" and not plain:
            raise ConfigError(
                "a cache holds tokens drawn from the teacher, which give forward_kl at temperature 1 alone: "
                "use teach.signal=online"
            )
        if self.on_policy and self.signal in ("sequences", "none"):
            raise ConfigError(f"on_policy wants a teacher's judgement, which teach.signal={self.signal} has not")


@recipe
class DistillRecipe:
    """`baicai distill`: make a small student that keeps the abilities that are wanted."""

    teacher: str
    """Path or hash of a model or trunk, or a folder of a causal language model in transformers' format."""
    data: Sources
    """Own text of each ability that is wanted; the weight says how much."""
    held_out: Sources
    """Text to measure on, of every ability; those that are not in `data` are dropped, and measured all the same."""
    start: Start = "slices"
    """Slices: the teacher's trunk, narrower and flatter. Dense: its trunk, the leaves' experts in its feed-forward.
    Pruned: its trunk, with fewer experts in each leaf. Fresh: as large as slices, from nothing."""
    target: Target | None = None
    """How large the student may be; by default a quarter of the teacher's parameters."""
    leaves: list[str] = dataclasses.field(default_factory=list)
    """The teacher's leaves that dense and pruned keep; by default those named as the abilities."""
    tokenizer: str | None = None
    """Of a fresh student that has not its teacher's."""
    teach: TeachConfig = TeachConfig()
    mix: Literal["gap", "wanted"] = "gap"
    """Share of each ability: how much it is wanted, times what the student still lacks of the teacher; or the first."""
    reinforce: Literal["weak", "never"] | list[str] = "never"
    """Abilities for which a leaf is grown on the teacher first: those named, or those at which it turns out weak."""
    reinforce_leaf: LeafConfig = LeafConfig()
    """Sizes of that leaf, where the teacher has none whose sizes it takes."""
    reinforce_train: TrainConfig = TrainConfig(tokens=500_000, learning_rate=4e-3)
    baseline: str | None = None
    """A model with the same vocabulary to compare with."""
    untaught: bool = True
    """Train a twin without the teacher for as many operations, for the report."""
    max_tokens: Count = 20_000
    """Of each ability's held-out text."""
    train: TrainConfig = TrainConfig(tokens=2_000_000, learning_rate=1e-3)

    def __post_init__(self) -> None:
        if not self.data:
            raise ConfigError("data names no ability: give text of what the student is to keep")
        measured = {source.domain for source in self.held_out}
        for source in self.data:
            if source.domain not in measured:
                raise ConfigError(f"held_out has no text of '{source.domain}': what is kept of it could not be told")
            if self.teach.cache is not None and not re.fullmatch(FOLDER, source.domain):
                raise ConfigError(
                    f"teach.cache is to have a folder for each domain, and '{source.domain}' cannot name one: use "
                    "letters, digits, '-' and '_'"
                )
        if self.leaves and self.start not in ("dense", "pruned"):
            raise ConfigError(f"leaves are kept by start=dense and start=pruned, not by start={self.start}")
        if self.tokenizer is not None and (self.start, self.teach.signal) not in (
            ("fresh", "sequences"),
            ("fresh", "none"),
        ):
            raise ConfigError(
                "a tokenizer that is not the teacher's needs start=fresh and teach.signal=sequences, which goes by text"
            )
        for name in self.named_domains_to_reinforce():
            if name not in {source.domain for source in self.data}:
                raise ConfigError(f"reinforce names '{name}', of which data has no text")
            check_leaf_name(name)

    def named_domains_to_reinforce(self) -> list[str]:
        """Return the abilities that a leaf is to be grown for in any case."""
        return self.reinforce if isinstance(self.reinforce, list) else []
