"""Choice of the domains for which a leaf is grown before distillation."""

import dataclasses

import pytest

from baicai.data.sources import SourceConfig
from baicai.distillation.config import DistillRecipe
from baicai.distillation.reinforce import domains_to_reinforce, is_weak
from baicai.distillation.teacher.weakness import Weakness
from baicai.errors import ConfigError

FINE = Weakness(documents=4, worse=2, answers=0, wrong=None, examples=[])
WEAK = dataclasses.replace(FINE, worse=3)
TEXT = [SourceConfig(path="text", domain=name) for name in ("law", "math")]
PLAIN = DistillRecipe(teacher="teacher", data=TEXT, held_out=TEXT)


@pytest.mark.parametrize(
    ("weakness", "weak"),
    [
        (FINE, False),
        (WEAK, True),
        (dataclasses.replace(FINE, answers=4, wrong=2), False),
        (dataclasses.replace(FINE, answers=4, wrong=3), True),
        (dataclasses.replace(FINE, documents=0, worse=0), False),
    ],
)
def test_weak_means_worse_on_most_documents_or_answers(weakness: Weakness, weak: bool) -> None:
    assert is_weak(weakness) == weak


@pytest.mark.parametrize(
    ("reinforce", "names"),
    [("never", []), ("weak", ["math"]), (["law"], ["law"]), (["math", "law"], ["math", "law"]), ([], [])],
)
def test_named_or_weak_domains_are_reinforced(reinforce: str | list[str], names: list[str]) -> None:
    config = dataclasses.replace(PLAIN, reinforce=reinforce)  # type: ignore[arg-type]
    assert domains_to_reinforce(config, {"law": FINE, "math": WEAK}) == names


def test_reserved_leaf_name_is_rejected() -> None:
    text = [SourceConfig(path="text", domain="trunk")]
    with pytest.raises(ConfigError, match="'trunk' cannot name a leaf: the name is reserved"):
        DistillRecipe(teacher="teacher", data=text, held_out=text, reinforce=["trunk"])
