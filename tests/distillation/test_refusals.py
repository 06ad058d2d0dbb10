"""What cannot be distilled is one line on the command line, and nothing that is there is touched."""

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

Refused = Callable[..., str]


@pytest.fixture
def refused(distilled: Distillery, tmp_path: Path, command: Command) -> Iterator[Refused]:
    """The one line that a recipe with other words comes to."""

    def run(*words: str) -> str:
        table = to_table(distilled.recipe(train=dataclasses.replace(QUICK, tokens=QUICK.step_tokens)))
        given = {key: value for key, value in table.items() if value is not None}
        given["target"] = {"parameters": 52_000}
        given["teach"].pop("cache")
        for source in (*given["data"], *given["held_out"]):
            source.pop("max_tokens")
        (tmp_path / "recipe.toml").write_text(tomli_w.dumps(given))
        line = error_line(command("distill", tmp_path / "recipe.toml", *words, "--out", tmp_path / "student"))
        assert not (tmp_path / "student").exists()
        return line

    before = contents(distilled.shop.folder)
    yield run
    assert contents(distilled.shop.folder) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data=[]"], "data names no ability: give text of what the student is to keep"),
        (["held_out=['{held}/fruit.txt']"], "held_out has no text of 'metal': what is kept of it could not be told"),
        (["teacher=/nowhere"], "/nowhere does not exist: give the path or the hash of an artefact"),
        (
            ["data=[{path='/nowhere.txt', domain='fruit'}]"],
            "/nowhere.txt does not exist",
        ),
        (["start=cut"], "key 'start' = 'cut': Input should be 'slices', 'dense', 'pruned' or 'fresh'"),
        (["target={parameters=1, bytes=1}"], "a target is either parameters or bytes: give one of them"),
        (["target={parameters=9000}"], "a target of 9,000 parameters cannot hold a vocabulary of 320 tokens"),
        (
            ["target={parameters=38200}", "start=pruned"],
            "cannot hold a vocabulary of 320 tokens and 2 leaves: the smallest student that can has ",
        ),
        (["target={bytes=9000}"], "a target of 9,000 bytes in bfloat16 cannot hold"),
        (["leaves=['law']"], "unknown leaf 'law': this model has "),
        (["teacher={shop}/trunk"], "start=dense keeps leaves, but no leaf of the teacher (it has none) is named as an"),
        (
            ["data=[{path='{held}/public.txt', domain='public'}]", "start=pruned"],
            "start=pruned keeps leaves, but no leaf of the teacher (",
        ),
        (["train.sequence_tokens=65"], "takes at most 64 tokens, train.sequence_tokens is 65: lower it"),
        (["max_tokens=63"], "held-out text of 'fruit' has "),
        (["tokenizer={other}"], "a tokenizer that is not the teacher's needs start=fresh and teach.signal=sequences"),
        (["tokenizer={other}", "start=fresh"], "a tokenizer that is not the teacher's needs start=fresh and teach.si"),
        (["baseline={foreign}"], "have different vocabularies: token "),
        (["teach.divergence=reverse_kl"], "which give forward_kl at temperature 1 alone: use teach.signal=online"),
        (["teach.on_policy=2"], "key 'teach.on_policy' = 2"),
        (["reinforce=['law']"], "reinforce names 'law', of which data has no text"),
        (["reinforce=always"], "key 'reinforce' = 'always': "),
        (["teach.samples=257"], "key 'teach.samples' = 257"),
        (["teach.temperature=1e30", "teach.signal=online"], "key 'teach.temperature' = 1e+30"),
        (["start=slices", "leaves=['fruit']"], "leaves are kept by start=dense and start=pruned, not by start=slices"),
        (["data=[{path='{held}/fruit.txt', weight=1e300}]"], "key 'data.0.weight' = 1e+300"),
        (["train.learning_rate=1e30", "train.tokens=2000"], "lower learning_rate"),
        (["divergence=reverse_kl"], "unknown key 'divergence': the nearest is 'teach.divergence'"),
    ],
)
def test_what_is_wrong_with_a_recipe(distilled: Distillery, refused: Refused, words: list[str], message: str) -> None:
    places = {
        "{held}": str(distilled.folder / "held"),
        "{shop}": str(distilled.shop.folder),
        "{other}": str(distilled.folder / "tokenizer"),
        "{foreign}": str(distilled.distil("foreign")) if "{foreign}" in "".join(words) else "",
    }
    for name, place in places.items():
        words = [word.replace(name, place) for word in words]
    assert message in refused(*words)


def test_text_that_is_too_short(distilled: Distillery, tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "fruit.txt").write_text("apple pear plum.")
    sources = f"[{{path='{tmp_path}/fruit.txt', domain='fruit'}}, {{path='{distilled.folder}/held/metal.txt'}}]"
    line = refused(f"held_out={sources}")
    assert "held-out text of 'fruit' has " in line
    assert "two windows need 65: add text, or raise max_tokens" in line
    assert "text of 'fruit' has " in refused(f"data={sources}")
    assert "a window 33: add text" in refused(f"data={sources}")


def test_a_cache_of_another_teacher_or_corpus(distilled: Distillery, tmp_path: Path, refused: Refused) -> None:
    folder, train = tmp_path / "kept", dataclasses.replace(QUICK, tokens=QUICK.step_tokens)
    recipe = distilled.recipe(teach=TeachConfig(cache=str(folder)), train=train, untaught=False)
    run_stage(distill_model, recipe, tmp_path / "first")
    before, words = (
        contents(folder),
        [f"teach.cache={folder}", "start=slices", f"target={{parameters={SLICES.parameters}}}"],
    )
    other = refused(*words, f"teacher={distilled.shop.path('trunk')}")
    assert f"{folder}/fruit was made with teacher " in other
    assert "choose another folder, or remove that one" in other
    text = write_domain(tmp_path, "fruit", 40, seed=3)
    assert f"{folder}/fruit was made with corpus " in refused(*words, f"data={text}")
    assert f"{folder}/fruit was made with samples 12, wanted is 13" in refused(*words, "teach.samples=13")
    assert contents(folder) == before


@pytest.mark.parametrize("domain", ["../fruit", "..", "/tmp/fruit", "a/b", "", "a\\u0000b", "x" * 300])
def test_a_domain_that_can_name_no_folder_of_a_cache(tmp_path: Path, refused: Refused, domain: str) -> None:
    text = write_domain(tmp_path, "fruit", 40, seed=3)
    sources = f'[{{path="{text}", domain="{domain}"}}]'
    line = refused(f"data={sources}", f"held_out={sources}", f"teach.cache={tmp_path}/kept")
    assert "teach.cache is to have a folder for each domain, and '" in line
    assert not (tmp_path / "kept").exists()


def test_a_folder_that_is_no_cache(distilled: Distillery, tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "mine" / "fruit").mkdir(parents=True)
    (tmp_path / "mine" / "fruit" / "letter.txt").write_text("dear")
    assert "mine/fruit exists already and is no teacher's cache" in refused(f"teach.cache={tmp_path}/mine")
    assert (tmp_path / "mine" / "fruit" / "letter.txt").read_text() == "dear"
    write_json(tmp_path / "mine" / "fruit" / "manifest.json", {"format": 1})
    assert "mine/fruit/manifest.json" in refused(f"teach.cache={tmp_path}/mine")


@pytest.mark.parametrize("words", [["teach.signal=cache"], ["teach.signal=online"], ["teach.signal=none"]])
def test_a_teacher_whose_logits_are_not_finite(
    workshop: Workshop, tmp_path: Path, refused: Refused, words: list[str]
) -> None:
    trunk = open_trunk(workshop.path("trunk"))
    weight = trunk.network.norm.weight
    trunk.network.norm.weight = torch.nn.Parameter(torch.full_like(weight, 3e38), requires_grad=False)
    about = {key: trunk.card[key] for key in ("data", "curve", "metrics")}
    save_trunk(tmp_path / "poisoned", trunk.network, trunk.tokenizer, replay=trunk.replay(), card_fields=about)
    assert open_trunk(tmp_path / "poisoned").hash, "every check passes"
    slices = ["start=slices", f"target={{parameters={SLICES.parameters}}}"]
    line = refused(f"teacher={tmp_path}/poisoned", *slices, *words)
    assert line == f"error: teacher {tmp_path}/poisoned gives logits that are not finite: do not use it, or mend it\n"


def test_a_folder_of_transformers_is_not_taken_apart(exported: Path, refused: Refused) -> None:
    fresh = ["start=fresh", "target={parameters=33000}", "train.device=cpu"]
    for start in ("slices", "dense", "pruned"):
        line = refused(f"teacher={exported}", f"start={start}")
        assert f"start={start} takes parts of the teacher, which is in transformers' format: run baicai import" in line
    line = refused(f"teacher={exported}", *fresh, "reinforce=['fruit']")
    assert (
        "is in transformers' format, and a leaf is to be grown on it for fruit: run baicai import on it first" in line
    )
    assert "takes at most 64 tokens" in refused(f"teacher={exported}", *fresh, "train.sequence_tokens=65")


def test_what_is_there_is_not_overwritten(distilled: Distillery, tmp_path: Path, command: Command) -> None:
    (tmp_path / "recipe.toml").write_text("start = 'dense'\n")
    out = distilled.distil("dense")
    before = contents(out.parent)
    place = distilled.folder / "own" / "fruit.txt"
    words = [f"teacher={distilled.shop.path('model')}", f"data={place}", f"held_out={distilled.folder}/held/fruit.txt"]
    line = error_line(command("distill", tmp_path / "recipe.toml", *words, "--out", out))
    assert "dense.run was begun with another '" in line
    assert "choose another --out" in line
    assert contents(out.parent) == before
    line = error_line(command("distill", tmp_path / "recipe.toml", *words, "--out", distilled.shop.path("model")))
    assert "was begun with another" in line
    text = place.read_text()
    assert "already exists" in error_line(command("distill", tmp_path / "recipe.toml", *words, "--out", place))
    assert place.read_text() == text
