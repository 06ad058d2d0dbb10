"""The recipe of `baicai distill`."""

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
FOLDER_NAME = r"\w[\w-]{0,63}"
"""Domain names that are safe folder names."""


@recipe
class TeachConfig:
    """The distillation loss: where the teacher's signal comes from, and how it is weighed against real text."""

    signal: Literal["cache", "online", "sequences", "none"] = "cache"
    """Source of the teacher's signal. cache: sampled logits, computed once and shared by all students. online: the full
    distribution, from a forward pass of the teacher at every step. sequences: text that the teacher generates, for a
    student with another tokenizer. none: real text only."""
    divergence: Literal["forward_kl", "reverse_kl", "jensen_shannon"] = "forward_kl"
    beta: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """For jensen_shannon: weight of the teacher in the mixture that both distributions are compared with."""
    temperature: Annotated[float, Field(ge=0.01, le=100)] = 1.0
    """Softmax temperature of both distributions."""
    share: Share = 0.5
    """Weight of the distillation loss; the rest is cross-entropy on real text. For sequences: share of generated text
    in the training data."""
    gate: Literal["ability", "document", "token", "off"] = "ability"
    """Unit at which the teacher is ignored once the student predicts real text at least as well. ability: a domain,
    judged on its held-out text. document, token: parts of the training text. off: always follow the teacher."""
    samples: Annotated[int, Field(ge=1, le=256)] = 12
    """Number of tokens sampled at each position for the cache."""
    cache: str | None = None
    """Folder of the cache. By default it is stored in the project's home folder, where other students reuse it."""
    on_policy: Share = 0.0
    """Share of the training steps in which the student continues real text itself and the teacher scores the result."""

    def __post_init__(self) -> None:
        plain = self.divergence == "forward_kl" and self.temperature == 1
        if self.signal == "cache" and not plain:
            raise ConfigError(
                "a cache holds tokens sampled from the teacher, which only support forward_kl at temperature 1: "
                "use teach.signal=online"
            )
        if self.on_policy and self.signal in ("sequences", "none"):
            raise ConfigError(
                f"on_policy needs a teacher to score the student's text, and teach.signal={self.signal} has none: use "
                "cache or online"
            )


@recipe
class DistillRecipe:
    """`baicai distill`: make a small student that keeps chosen domains of its teacher."""

    teacher: str
    """Path or hash of a model or trunk, or a folder of a causal language model in transformers' format."""
    data: Sources
    """Training text of each domain to keep. The weight says how important the domain is."""
    held_out: Sources
    """Evaluation text of every domain. Domains that are not in `data` are dropped, but still measured."""
    start: Start = "slices"
    """Initialisation of the student. slices: the teacher's trunk, pruned in width and depth. dense: its trunk, with the
    experts of the kept leaves in the feed-forward layers. pruned: its trunk and leaves with fewer experts. fresh:
    random weights, in the sizes of slices."""
    target: Target | None = None
    """Maximum size of the student; a quarter of the teacher's parameters by default."""
    leaves: list[str] = dataclasses.field(default_factory=list)
    """Leaves of the teacher that dense and pruned keep; by default those named after a domain in `data`."""
    tokenizer: str | None = None
    """Tokenizer of a fresh student, if it differs from the teacher's."""
    teach: TeachConfig = TeachConfig()
    mix: Literal["gap", "wanted"] = "gap"
    """Data mix. wanted: domains are sampled by their weights in `data`. gap: by the weight times the gap between the
    student and the teacher, measured during training."""
    reinforce: Literal["weak", "never"] | list[str] = "never"
    """Domains for which a leaf is grown on the teacher before distillation: a list, or all on which it is weak."""
    reinforce_leaf: LeafConfig = LeafConfig()
    """Sizes of these leaves, if the teacher has no leaf to take them from."""
    reinforce_train: TrainConfig = TrainConfig(tokens=500_000, learning_rate=4e-3)
    baseline: str | None = None
    """Model with the same vocabulary to compare the teacher and the student with."""
    untaught: bool = True
    """Also train a twin on real text alone, with the same number of operations, for the report."""
    max_tokens: Count = 20_000
    """Maximum number of held-out tokens per domain."""
    train: TrainConfig = TrainConfig(tokens=2_000_000, learning_rate=1e-3)

    def __post_init__(self) -> None:
        if not self.data:
            raise ConfigError("data is empty: add text of the domains that the student should keep")
        measured = {source.domain for source in self.held_out}
        for source in self.data:
            if source.domain not in measured:
                raise ConfigError(
                    f"held_out has no text of '{source.domain}': add some, so that the student can be evaluated on it"
                )
            if self.teach.cache is not None and not re.fullmatch(FOLDER_NAME, source.domain):
                raise ConfigError(
                    f"teach.cache gets a folder for each domain, and '{source.domain}' is not a valid folder name: use "
                    "letters, digits, '-' and '_'"
                )
        if self.leaves and self.start not in ("dense", "pruned"):
            raise ConfigError(f"leaves only applies to start=dense and start=pruned, not to start={self.start}")
        if self.tokenizer is not None and (self.start, self.teach.signal) not in (
            ("fresh", "sequences"),
            ("fresh", "none"),
        ):
            raise ConfigError("a tokenizer of its own requires start=fresh and teach.signal=sequences or none")
        for name in self.named_domains_to_reinforce():
            if name not in {source.domain for source in self.data}:
                raise ConfigError(f"reinforce names '{name}', but data has no text of this domain")
            check_leaf_name(name)

    def named_domains_to_reinforce(self) -> list[str]:
        """Return the domains that the recipe lists in `reinforce`."""
        return self.reinforce if isinstance(self.reinforce, list) else []
