"""Invalid distillations fail with one line on the command line and leave existing files untouched."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tomli_w
import torch

from baicai.artefact import write_json
from baicai.config import to_table
from baicai.distillation.config import TeachConfig
from baicai.distillation.distill import distill_model
from baicai.leaves.trunk import open_trunk, save_trunk
from baicai.run import run_stage
from tests.cli.conftest import Command
from tests.cli.test_verbs import error_line
from tests.conftest import Workshop, write_domain
from tests.distillation.distilling import QUICK, SLICES, Distillery, contents

Fail = Callable[..., str]


@pytest.fixture
def fail(distilled: Distillery, tmp_path: Path, command: Command) -> Iterator[Fail]:
    """Return a function that runs the recipe with some overrides and returns its one error line."""

    def run(*overrides: str) -> str:
        table = to_table(distilled.recipe(train=dataclasses.replace(QUICK, tokens=QUICK.step_tokens)))
        recipe = {key: value for key, value in table.items() if value is not None}
        recipe["target"] = {"parameters": 52_000}
        recipe["teach"].pop("cache")
        for source in (*recipe["data"], *recipe["held_out"]):
            source.pop("max_tokens")
        (tmp_path / "recipe.toml").write_text(tomli_w.dumps(recipe))
        line = error_line(command("distill", tmp_path / "recipe.toml", *overrides, "--out", tmp_path / "student"))
        assert not (tmp_path / "student").exists()
        return line

    before = contents(distilled.shop.folder)
    yield run
    assert contents(distilled.shop.folder) == before


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data=[]"], "data is empty: add text of the domains that the student should keep"),
        (["held_out=['{held}/fruit.txt']"], "held_out has no text of 'metal': add some, so that"),
        (["teacher=/nowhere"], "/nowhere does not exist: give the path or the hash of an artefact"),
        (
            ["data=[{path='/nowhere.txt', domain='fruit'}]"],
            "/nowhere.txt does not exist",
        ),
        (["start=cut"], "key 'start' = 'cut': Input should be 'slices', 'dense', 'pruned' or 'fresh'"),
        (["target={parameters=1, bytes=1}"], "a target is either parameters or bytes: set exactly one of them"),
        (["target={parameters=9000}"], "a target of 9,000 parameters cannot hold a vocabulary of 320 tokens"),
        (
            ["target={parameters=38200}", "start=pruned"],
            "cannot hold a vocabulary of 320 tokens and 2 leaves: the smallest possible student has ",
        ),
        (["target={bytes=9000}"], "a target of 9,000 bytes in bfloat16 cannot hold"),
        (["leaves=['law']"], "leaf 'law'"),
        (["teacher={shop}/trunk"], "start=dense keeps leaves, but no leaf of the teacher (it has none) is named after"),
        (
            ["data=[{path='{held}/public.txt', domain='public'}]", "start=pruned"],
            "start=pruned keeps leaves, but no leaf of the teacher (",
        ),
        (["train.sequence_tokens=65"], "takes at most 64 tokens, but train.sequence_tokens is 65: lower it"),
        (["max_tokens=63"], "held-out text of 'fruit' has "),
        (["tokenizer={other}"], "a tokenizer of its own requires start=fresh and teach.signal=sequences or none"),
        (
            ["tokenizer={other}", "start=fresh"],
            "a tokenizer of its own requires start=fresh and teach.signal=sequences",
        ),
        (["baseline={foreign}"], "have different vocabularies: token "),
        (["teach.divergence=reverse_kl"], "which only support forward_kl at temperature 1: use teach.signal=online"),
        (["teach.on_policy=2"], "key 'teach.on_policy' = 2"),
        (["reinforce=['law']"], "reinforce names 'law', but data has no text of this domain"),
        (["reinforce=always"], "key 'reinforce' = 'always': "),
        (["teach.samples=257"], "key 'teach.samples' = 257"),
        (["teach.temperature=1e30", "teach.signal=online"], "key 'teach.temperature' = 1e+30"),
        (
            ["start=slices", "leaves=['fruit']"],
            "leaves only applies to start=dense and start=pruned, not to start=slices",
        ),
        (["data=[{path='{held}/fruit.txt', weight=1e300}]"], "key 'data.0.weight' = 1e+300"),
        (["train.learning_rate=1e30", "train.tokens=2000"], "lower learning_rate"),
        (["divergence=reverse_kl"], "unknown key 'divergence': the nearest is 'teach.divergence'"),
    ],
)
def test_invalid_recipe(distilled: Distillery, fail: Fail, overrides: list[str], message: str) -> None:
    paths = {
        "{held}": str(distilled.folder / "held"),
        "{shop}": str(distilled.shop.folder),
        "{other}": str(distilled.folder / "tokenizer"),
        "{foreign}": str(distilled.distil("foreign")) if "{foreign}" in "".join(overrides) else "",
    }
    for name, path in paths.items():
        overrides = [override.replace(name, path) for override in overrides]
    assert message in fail(*overrides)


def test_too_short_text(distilled: Distillery, tmp_path: Path, fail: Fail) -> None:
    (tmp_path / "fruit.txt").write_text("apple pear plum.")
    sources = f"[{{path='{tmp_path}/fruit.txt', domain='fruit'}}, {{path='{distilled.folder}/held/metal.txt'}}]"
    line = fail(f"held_out={sources}")
    assert "held-out text of 'fruit' has " in line
    assert "but two windows need 65: add text, or raise max_tokens" in line
    assert "text of 'fruit' has " in fail(f"data={sources}")
    assert "but one window needs 33: add text" in fail(f"data={sources}")


def test_cache_of_another_teacher_or_corpus(distilled: Distillery, tmp_path: Path, fail: Fail) -> None:
    folder, train = tmp_path / "cache", dataclasses.replace(QUICK, tokens=QUICK.step_tokens)
    recipe = distilled.recipe(teach=TeachConfig(cache=str(folder)), train=train, untaught=False)
    run_stage(distill_model, recipe, tmp_path / "first")
    before = contents(folder)
    overrides = [f"teach.cache={folder}", "start=slices", f"target={{parameters={SLICES.parameters}}}"]
    line = fail(*overrides, f"teacher={distilled.shop.path('trunk')}")
    assert f"{folder}/fruit was made with teacher " in line
    assert "choose another folder, or remove this one" in line
    text = write_domain(tmp_path, "fruit", 40, seed=3)
    assert f"{folder}/fruit was made with corpus " in fail(*overrides, f"data={text}")
    assert f"{folder}/fruit was made with samples 12, expected 13" in fail(*overrides, "teach.samples=13")
    assert contents(folder) == before


@pytest.mark.parametrize("domain", ["../fruit", "..", "/tmp/fruit", "a/b", "", "a\\u0000b", "x" * 300])
def test_domain_that_is_not_a_valid_cache_folder(tmp_path: Path, fail: Fail, domain: str) -> None:
    text = write_domain(tmp_path, "fruit", 40, seed=3)
    sources = f'[{{path="{text}", domain="{domain}"}}]'
    line = fail(f"data={sources}", f"held_out={sources}", f"teach.cache={tmp_path}/cache")
    assert "teach.cache gets a folder for each domain, and '" in line
    assert not (tmp_path / "cache").exists()


def test_folder_that_is_not_a_cache(distilled: Distillery, tmp_path: Path, fail: Fail) -> None:
    (tmp_path / "mine" / "fruit").mkdir(parents=True)
    (tmp_path / "mine" / "fruit" / "letter.txt").write_text("dear")
    assert "mine/fruit already exists and is not a teacher's cache" in fail(f"teach.cache={tmp_path}/mine")
    assert (tmp_path / "mine" / "fruit" / "letter.txt").read_text() == "dear"
    write_json(tmp_path / "mine" / "fruit" / "manifest.json", {"format": 1})
    assert "mine/fruit/manifest.json" in fail(f"teach.cache={tmp_path}/mine")


@pytest.mark.parametrize("overrides", [["teach.signal=cache"], ["teach.signal=online"], ["teach.signal=none"]])
def test_teacher_with_infinite_logits(workshop: Workshop, tmp_path: Path, fail: Fail, overrides: list[str]) -> None:
    trunk = open_trunk(workshop.path("trunk"))
    weight = trunk.network.norm.weight
    trunk.network.norm.weight = torch.nn.Parameter(torch.full_like(weight, 3e38), requires_grad=False)
    card_fields = {key: trunk.card[key] for key in ("data", "curve", "metrics")}
    save_trunk(tmp_path / "poisoned", trunk.network, trunk.tokenizer, replay=trunk.replay(), card_fields=card_fields)
    assert open_trunk(tmp_path / "poisoned").hash, "the trunk itself is valid"
    slices = ["start=slices", f"target={{parameters={SLICES.parameters}}}"]
    line = fail(f"teacher={tmp_path}/poisoned", *slices, *overrides)
    assert line == f"error: teacher {tmp_path}/poisoned produces logits that are not finite: use another teacher\n"


def test_transformers_teacher_cannot_be_sliced(exported: Path, fail: Fail) -> None:
    fresh = ["start=fresh", "target={parameters=33000}", "train.device=cpu"]
    for start in ("slices", "dense", "pruned"):
        line = fail(f"teacher={exported}", f"start={start}")
        assert (
            f"start={start} copies parts of the teacher, but it is in transformers' format: run baicai import" in line
        )
    line = fail(f"teacher={exported}", *fresh, "reinforce=['fruit']")
    assert "is in transformers' format, so no leaf can be grown on it for fruit: run baicai import on it first" in line
    assert "takes at most 64 tokens" in fail(f"teacher={exported}", *fresh, "train.sequence_tokens=65")


def test_existing_files_are_not_overwritten(distilled: Distillery, tmp_path: Path, command: Command) -> None:
    (tmp_path / "recipe.toml").write_text("start = 'dense'\n")
    out = distilled.distil("dense")
    before = contents(out.parent)
    text_file = distilled.folder / "own" / "fruit.txt"
    words = [
        f"teacher={distilled.shop.path('model')}",
        f"data={text_file}",
        f"held_out={distilled.folder}/held/fruit.txt",
    ]
    line = error_line(command("distill", tmp_path / "recipe.toml", *words, "--out", out))
    assert "dense.run was begun with another '" in line
    assert "choose another --out" in line
    assert contents(out.parent) == before
    line = error_line(command("distill", tmp_path / "recipe.toml", *words, "--out", distilled.shop.path("model")))
    assert "was begun with another" in line
    text = text_file.read_text()
    assert "already exists" in error_line(command("distill", tmp_path / "recipe.toml", *words, "--out", text_file))
    assert text_file.read_text() == text
