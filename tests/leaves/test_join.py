"""Joining and peeling: the laws on artefacts, and everything that must be refused."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from baicai.artefact import (
    file_hash,
    read_json,
    read_tensors,
    register_artefact,
    tensors_hash,
    value_hash,
    write_tensors,
)
from baicai.config import to_table
from baicai.errors import ArtefactError, BaicaiError, ConfigError
from baicai.leaves.join import JoinRecipe, PeelRecipe, join_leaves, peel_leaves
from baicai.leaves.leaf import check_leaf_name, open_leaf, save_leaf
from baicai.leaves.model import MAX_LOCK_BYTES, SparseModel, open_model
from baicai.leaves.trunk import open_trunk, save_trunk
from baicai.model.config import LeafConfig
from baicai.model.experts import Leaf
from baicai.run import run_stage
from tests.conftest import LEAF, Workshop

ANY: dict[str, Any] = {"max_harm": 1e9, "max_firing": 1.0}


def join(workshop: Workshop, out: Path, *leaves: str | Path, trunk: str | Path = "", **limits: Any) -> SparseModel:
    recipe = JoinRecipe(trunk=str(trunk) or workshop.path("trunk"), leaves=[str(leaf) for leaf in leaves], **limits)
    run_stage(join_leaves, recipe, out)
    return open_model(out)


def peel(model: Path, out: Path, *leaves: str) -> SparseModel:
    run_stage(peel_leaves, PeelRecipe(model=str(model), leaves=list(leaves)), out)
    return open_model(out)


@torch.no_grad()
def logits(model: SparseModel) -> torch.Tensor:
    out: torch.Tensor = model.network(torch.arange(2 * 40).view(2, 40) * 37 % 320)
    return out


@pytest.fixture
def fruit(workshop: Workshop) -> str:
    return workshop.path("fruit")


@pytest.fixture
def metal(workshop: Workshop) -> str:
    return workshop.path("metal")


def craft(
    workshop: Workshop,
    out: Path,
    change: Callable[[Leaf], None] | None = None,
    sizes: LeafConfig = LEAF,
    name: str = "crafted",
) -> Path:
    """Save a freshly started leaf, changed or not, the way a grower would."""
    trunk = open_trunk(workshop.path("trunk"))
    leaf = Leaf(trunk.network.config, sizes)
    leaf.initialize(7)
    with torch.no_grad():
        if change is not None:
            change(leaf)
    save_leaf(out, name, leaf, trunk, data=[], card_fields={"metrics": {}, "curve": []})
    return out


def forge(workshop: Workshop, out: Path, tensors: dict[str, torch.Tensor] | None = None, **changes: Any) -> Path:
    """Write a copy of the fruit leaf with other contents, under hashes that fit them."""
    shutil.copytree(workshop.path("fruit"), out)
    if tensors is not None:
        write_tensors(out / "leaf.safetensors", tensors)
    card = read_json(out / "leaf.json") | {"tensors": tensors_hash(read_tensors(out / "leaf.safetensors"))} | changes
    card["hash"] = value_hash({key: card.get(key) for key in ("trunk", "sizes", "data", "tensors")})
    (out / "leaf.json").write_text(json.dumps(card))
    return out


def test_law_1_a_fresh_leaf_gives_the_trunks_logits(workshop: Workshop, tmp_path: Path) -> None:
    fresh = craft(workshop, tmp_path / "fresh")
    model = join(workshop, tmp_path / "model", fresh, **ANY)
    assert list(model.leaves) == ["crafted"]
    assert torch.equal(logits(model), logits(open_model(workshop.path("trunk"))))


def test_law_2_peeled_is_as_never_joined(workshop: Workshop, tmp_path: Path, fruit: str, metal: str) -> None:
    alone = join(workshop, tmp_path / "alone", fruit)
    both = join(workshop, tmp_path / "both", fruit, metal)
    assert not torch.equal(logits(both), logits(alone))
    peeled = peel(tmp_path / "both", tmp_path / "peeled", "metal")
    assert peeled.hash == alone.hash != both.hash
    assert torch.equal(logits(peeled), logits(alone))
    bare = peel(tmp_path / "peeled", tmp_path / "bare", alone.leaves["fruit"].hash[:8])
    assert bare.leaves == {}
    assert bare.hash == join(workshop, tmp_path / "empty").hash == open_model(workshop.path("trunk")).hash
    assert torch.equal(logits(bare), logits(open_model(workshop.path("trunk"))))


def test_law_4_the_order_of_leaves_changes_nothing(workshop: Workshop, tmp_path: Path, fruit: str, metal: str) -> None:
    first = join(workshop, tmp_path / "one", fruit, metal, topk_group=2)
    other = join(workshop, tmp_path / "other", metal, fruit, topk_group=2)
    assert first.hash == other.hash
    assert (tmp_path / "one" / "model.toml").read_bytes() == (tmp_path / "other" / "model.toml").read_bytes()
    assert torch.equal(logits(first), logits(other))
    narrow = join(workshop, tmp_path / "narrow", fruit, metal)
    assert narrow.hash != first.hash, "topk_group is part of the model's hash"
    assert not torch.equal(logits(narrow), logits(first))


def test_a_model_is_a_lock_file_and_a_card(workshop: Workshop, tmp_path: Path, fruit: str) -> None:
    parts = [file for name in ("trunk", "fruit") for file in sorted(Path(workshop.path(name)).rglob("*.*"))]
    before = [file_hash(file) for file in parts if file.is_file()]
    model = join(workshop, tmp_path / "model", fruit)
    assert sorted(file.name for file in (tmp_path / "model").iterdir()) == ["README.md", "model.toml"]
    assert sum(file.stat().st_size for file in (tmp_path / "model").iterdir()) < 3000
    card = (tmp_path / "model" / "README.md").read_text()
    assert all(digest in card for digest in (model.hash, model.trunk.hash, model.leaves["fruit"].hash[:12]))
    assert "| fruit |" in card
    assert "CC0-1.0" in card
    assert before == [file_hash(file) for file in parts if file.is_file()]


def test_a_model_is_opened_by_path_lock_file_or_hash(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = open_model(workshop.path("model"))
    for reference in (Path(workshop.path("model")) / "model.toml", model.hash, model.hash[:8]):
        assert open_model(reference).hash == model.hash
    assert open_model(model.trunk.hash[:8]).leaves == {}
    monkeypatch.chdir(workshop.folder)
    assert open_model("model").hash == model.hash


def test_leaves_and_trunk_are_joined_by_hash(workshop: Workshop, tmp_path: Path) -> None:
    model = open_model(workshop.path("model"))
    hashes = [leaf.hash[:12] for leaf in model.leaves.values()]
    assert join(workshop, tmp_path / "model", *hashes, trunk=model.trunk.hash[:12]).hash == model.hash


def test_a_moved_model_finds_its_parts_by_hash(workshop: Workshop, tmp_path: Path) -> None:
    shutil.copytree(workshop.path("model"), tmp_path / "far" / "away" / "model")
    moved = open_model(tmp_path / "far" / "away" / "model")
    assert torch.equal(logits(moved), logits(open_model(workshop.path("model"))))


def test_a_whole_workshop_moves_to_another_machine(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("trunk", "fruit", "metal", "model"):
        shutil.copytree(workshop.path(name), tmp_path / "new" / name)
    monkeypatch.setenv("BAICAI_HOME", str(tmp_path / "other-home"))
    moved = open_model(tmp_path / "new" / "model")
    assert {leaf.path.resolve().parent for leaf in moved.leaves.values()} == {tmp_path / "new"}
    shutil.move(tmp_path / "new" / "fruit", tmp_path / "elsewhere")
    with pytest.raises(ArtefactError, match=r"no artefact with hash .* is known on this machine: give its path"):
        open_model(tmp_path / "new" / "model")


def test_another_artefact_registered_under_a_hash_is_detected(workshop: Workshop, tmp_path: Path, fruit: str) -> None:
    trunk, gone = open_trunk(workshop.path("trunk")), "f" * 64
    for kind in ("trunk", "fruit", "model"):
        register_artefact(gone, Path(workshop.path(kind)))
        with pytest.raises(ArtefactError, match="expected ffffffff: pass the matching"):
            open_leaf(gone[:9], trunk) if kind == "fruit" else open_model(gone[:9])


def test_a_leaf_of_another_trunk_is_rejected(workshop: Workshop, tmp_path: Path, fruit: str) -> None:
    trunk = open_trunk(workshop.path("trunk"))
    with torch.no_grad():
        trunk.network.embedding.weight[0, 0] += 1
    other = save_trunk(
        tmp_path / "trunk",
        trunk.network,
        trunk.tokenizer,
        replay=trunk.replay(),
        card_fields={"metrics": {"tokens": 1, "loss": 1.0}, "data": [], "curve": []},
    )
    message = f"leaf 'fruit' was grown on trunk {trunk.hash[:8]}, this trunk is {other[:8]}: grow it again, or join it"
    with pytest.raises(ArtefactError, match=message):
        join(workshop, tmp_path / "model", fruit, trunk=tmp_path / "trunk")
    assert not (tmp_path / "model").exists()


def test_two_leaves_with_the_same_name_are_rejected(workshop: Workshop, tmp_path: Path, fruit: str) -> None:
    twin = craft(workshop, tmp_path / "twin", name="fruit")
    for pair in ((fruit, twin), (fruit, fruit)):
        with pytest.raises(ConfigError, match="two leaves are named 'fruit': give one of them another name"):
            join(workshop, tmp_path / f"model{len(str(pair))}", *pair, **ANY)


def test_leaves_of_different_sizes_are_rejected(workshop: Workshop, tmp_path: Path, fruit: str) -> None:
    small = craft(workshop, tmp_path / "small", sizes=dataclasses.replace(LEAF, num_experts=2))
    with pytest.raises(ConfigError, match=r"has sizes .* this model's leaves .*: grow it with those"):
        join(workshop, tmp_path / "model", fruit, small, **ANY)


@pytest.mark.parametrize("wanted", ["law", "deadbeef", "public", ""])
def test_peeling_an_unknown_leaf_is_rejected(workshop: Workshop, tmp_path: Path, wanted: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown leaf '{wanted}': this model has (fruit, metal|metal, fruit)"):
        peel(Path(workshop.path("model")), tmp_path / "model", wanted)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) * 9 // 10] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("damage", [Path.unlink, cut, flip], ids=["missing", "truncated", "flipped"])
@pytest.mark.parametrize(
    "file",
    [
        "trunk/trunk.safetensors",
        "trunk/tokenizer.json",
        "trunk/replay/manifest.json",
        "trunk/replay/tokens-00000.bin",
        "fruit/leaf.safetensors",
    ],
)
def test_a_damaged_file_is_named_in_a_one_line_error(
    workshop: Workshop, tmp_path: Path, file: str, damage: Callable[[Path], None]
) -> None:
    for name in ("trunk", "fruit"):
        shutil.copytree(workshop.path(name), tmp_path / name)
    damage(tmp_path / file)
    with pytest.raises(ArtefactError) as caught:
        join(workshop, tmp_path / "model", tmp_path / "fruit", trunk=tmp_path / "trunk")
    assert str((tmp_path / file).parent) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("file", "before", "after", "message"),
    [
        ("trunk/config.json", '"dim": 32', '"dim": 64', "is damaged: its content does not match its hash"),
        ("trunk/config.json", '"hash": "', '"hash": "0', "is damaged: its content does not match its hash"),
        ("trunk/config.json", '"kind": "trunk"', '"kind": "leaf"', "kind=leaf, format=1; `baicai import` makes"),
        ("trunk/config.json", '"format": 1', '"format": 2', "is not a trunk of format 1"),
        ("trunk/config.json", '"replay": "', '"replay": "0', "is not this trunk's public sample"),
        ("trunk/config.json", "{", "[", "cannot be read"),
        ("fruit/leaf.json", '"num_experts": 4', '"num_experts": 5', "is damaged: its content does not match its hash"),
        ("fruit/leaf.json", '"licences": {', '"licences": {"MIT": 1, ', "is damaged: its content does not match"),
        ("fruit/leaf.json", '"tokens": ', '"tokens": NaN, "more": ', "NaN is not valid JSON"),
        ("fruit/leaf.json", '"kind": "leaf"', '"kind": "trunk"', "is not a leaf of format 1: its card says kind=trunk"),
        ("fruit/leaf.json", '"name": "fruit"', '"name": "../fruit"', "'../fruit' cannot name a leaf"),
    ],
)
def test_a_changed_card_is_a_one_line_error(
    workshop: Workshop, tmp_path: Path, file: str, before: str, after: str, message: str
) -> None:
    for name in ("trunk", "fruit"):
        shutil.copytree(workshop.path(name), tmp_path / name)
    text = (tmp_path / file).read_text()
    assert before in text
    (tmp_path / file).write_text(text.replace(before, after, 1))
    with pytest.raises(BaicaiError, match=message):
        join(workshop, tmp_path / "model", tmp_path / "fruit", trunk=tmp_path / "trunk")


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("topk_group = 1", "topk_group = 2", "does not match its hash: join the model again"),
        ("format = 1", "format = 9", "does not match its hash"),
        ('\nhash = "', '\nhash = "0', "does not match its hash"),
        ("[trunk]", "[trunks]", "is not a model's lock file .*unknown key 'trunks'"),
        ("topk_group = 1", "topk_group = 'one'", "is not a model's lock file .*'topk_group' = 'one'"),
        ("topk_group = 1", "topk_group = ", "is not a model's lock file"),
        ("topk_group = 1", "topk_group = 1\n[calibration]\nab = [nan]\n[more]", "is not a model's lock file"),
        ("topk_group = 1", f"topk_group = {'[' * 10_000}", "is not a model's lock file"),
        ("topk_group = 1", f"topk_group = 1 #{' ' * MAX_LOCK_BYTES}", r"lock file \(it is larger than 1048576 bytes\)"),
    ],
)
def test_a_changed_lock_file_is_a_one_line_error(
    workshop: Workshop, tmp_path: Path, before: str, after: str, message: str
) -> None:
    text = (Path(workshop.path("model")) / "model.toml").read_text()
    assert before in text
    (tmp_path / "model.toml").write_text(text.replace(before, after, 1))
    with pytest.raises(ArtefactError, match=message):
        open_model(tmp_path)


@pytest.mark.parametrize("damage", [Path.unlink, cut])
def test_a_damaged_lock_file_is_an_error(workshop: Workshop, tmp_path: Path, damage: Callable[[Path], None]) -> None:
    shutil.copytree(workshop.path("model"), tmp_path / "model")
    damage(tmp_path / "model" / "model.toml")
    with pytest.raises(ArtefactError, match=r"is neither a model|is not a model's lock file"):
        open_model(tmp_path / "model")


def test_a_swapped_leaf_is_detected(workshop: Workshop, tmp_path: Path) -> None:
    for name in ("trunk", "fruit", "metal", "model"):
        shutil.copytree(workshop.path(name), tmp_path / name)
    shutil.rmtree(tmp_path / "metal")
    (tmp_path / "fruit").rename(tmp_path / "metal")
    with pytest.raises(ArtefactError, match=r"leaf .*metal has hash \w{8}, expected \w{8}: pass the matching leaf"):
        open_model(tmp_path / "model")


ROUTER, DOWN = "layers.1.router_ED", "layers.2.down_EDF"
BAD_TENSORS: list[tuple[str, Callable[[torch.Tensor], torch.Tensor], str]] = [
    (DOWN, lambda x: x.index_fill(2, torch.tensor([3]), torch.nan), "'layers.2.down_EDF' holds NaN or infinite values"),
    (ROUTER, lambda x: x.index_fill(1, torch.tensor([3]), torch.inf), "'layers.1.router_ED' holds NaN or infinite"),
    ("layers.1.bias_E", lambda x: x - torch.inf, "'layers.1.bias_E' holds NaN or infinite values"),
    (DOWN, lambda x: x[:, :, :-1], r"'layers.2.down_EDF' has shape \[4, 32, 15\], expected \[4, 32, 16\]"),
    (ROUTER, lambda x: x.T, r"'layers.1.router_ED' has shape \[32, 4\], expected \[4, 32\]"),
    (ROUTER, lambda x: x.int(), "'layers.1.router_ED' has dtype torch.int32"),
    (ROUTER, lambda x: x.double(), "'layers.1.router_ED' has dtype torch.float64"),
    (
        ROUTER,
        lambda x: x / x.norm(dim=1, keepdim=True) * 65,
        "a router row has norm 65, the limit is 64: do not use",
    ),
]


@pytest.mark.parametrize(("name", "change", "message"), BAD_TENSORS)
def test_invalid_tensors_are_rejected_even_with_a_matching_hash(
    workshop: Workshop, tmp_path: Path, name: str, change: Callable[[torch.Tensor], torch.Tensor], message: str
) -> None:
    tensors = read_tensors(Path(workshop.path("fruit")) / "leaf.safetensors")
    tensors[name] = change(tensors[name])
    bad = forge(workshop, tmp_path / "bad", tensors)
    with pytest.raises(ArtefactError, match=message):
        join(workshop, tmp_path / "model", bad, **ANY)


def test_missing_and_unknown_tensors_are_rejected(workshop: Workshop, tmp_path: Path) -> None:
    tensors = read_tensors(Path(workshop.path("fruit")) / "leaf.safetensors")
    more = forge(workshop, tmp_path / "more", tensors | {"layers.0.router_ED": torch.zeros(4, 32)})
    fewer = forge(workshop, tmp_path / "fewer", {name: t for name, t in tensors.items() if name != DOWN})
    with pytest.raises(ArtefactError, match=r"tensor 'layers\.0\.router_ED' is not expected"):
        join(workshop, tmp_path / "model", more)
    with pytest.raises(ArtefactError, match=r"tensor 'layers\.2\.down_EDF' is missing"):
        join(workshop, tmp_path / "model2", fewer)


SIZES = to_table(LEAF)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sizes": SIZES | {"first_layer": -1}}, "begins at layer -1, but this trunk has 3"),
        ({"sizes": SIZES | {"first_layer": 3}}, "begins at layer 3, but this trunk has 3"),
        ({"sizes": SIZES | {"first_layer": 2}}, "is not expected"),
        ({"sizes": SIZES | {"num_experts": 10**9}}, "expected"),
        ({"sizes": SIZES | {"top_k": 5}}, "top_k 5 must be at most num_experts 4"),
        ({"sizes": SIZES | {"speed": 5}}, "unknown key 'speed'"),
        ({"sizes": None}, r"leaf\.json"),
        ({"data": "law"}, "key 'data' = 'law'"),
        ({"data": [{"domain": "law"}]}, r"key 'data\.0\.\w+' is missing"),
        ({"curve": [{"tokens": "many"}]}, r"key 'curve\.0\.tokens' = 'many'"),
        ({"curve": None}, "key 'curve' = None"),
        ({"metrics": {"public": {"leaf": "good"}}}, r"key 'metrics\.public"),
        ({"name": "keys"}, "'keys' cannot name a leaf: the name is reserved"),
        ({"trunk": "0" * 64}, "was grown on trunk 00000000"),
        ({"trunk": None}, "was grown on trunk None"),
    ],
)
def test_forged_cards_are_rejected_even_with_a_matching_hash(
    workshop: Workshop, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    bad = forge(workshop, tmp_path / "bad", **changes)
    with pytest.raises(BaicaiError, match=message) as caught:
        join(workshop, tmp_path / "model", bad)
    assert "\n" not in str(caught.value)


def test_a_router_row_below_the_limit_is_accepted(workshop: Workshop, tmp_path: Path) -> None:
    tensors = read_tensors(Path(workshop.path("fruit")) / "leaf.safetensors")
    tensors[ROUTER] = tensors[ROUTER] / tensors[ROUTER].norm(dim=1, keepdim=True) * 63
    assert join(workshop, tmp_path / "model", forge(workshop, tmp_path / "long", tensors), **ANY).leaves


@pytest.mark.parametrize(("bias", "good"), [(0.09, True), (0.2, False), (-0.2, False)])
def test_a_choice_bias_may_not_displace_other_leaves(
    workshop: Workshop, tmp_path: Path, bias: float, good: bool
) -> None:
    tensors = read_tensors(Path(workshop.path("fruit")) / "leaf.safetensors")
    name = ROUTER.replace("router_ED", "bias_E")
    leaf = forge(workshop, tmp_path / "pushy", tensors | {name: torch.full_like(tensors[name], bias)})
    if good:
        assert join(workshop, tmp_path / "model", leaf, **ANY).leaves
        return
    with pytest.raises(ArtefactError, match=r"a choice bias exceeds 0\.1"):
        join(workshop, tmp_path / "model", leaf, **ANY)


def shout(leaf: Leaf) -> None:
    for layer in leaf.layer_list():
        layer.down_EDF.fill_(3.0)


def overflow(leaf: Leaf) -> None:
    for layer in leaf.layer_list():
        layer.down_EDF.fill_(3e38)


def grasp(leaf: Leaf) -> None:
    """Long rows in pairs that point either way: one of each claims the token. It says nothing, so it harms nothing."""
    for layer in leaf.layer_list():
        row_D = torch.randn(2, 32, generator=torch.Generator().manual_seed(0))
        row_D = row_D / row_D.norm(dim=1, keepdim=True) * 60
        layer.router_ED.copy_(torch.cat((row_D, -row_D)))


@pytest.mark.parametrize(
    ("change", "message", "limit"),
    [
        (shout, r"makes public text [\d.]+% worse, the limit is 5.0%: grow it again .*, or raise max_harm", "max_harm"),
        (overflow, r"makes public text nan% worse", None),
        (grasp, r"claims \d+% of public text, the limit is 50%: grow it again .*, or raise max_firing", "max_firing"),
    ],
)
def test_a_leaf_that_disturbs_public_text_is_rejected(
    workshop: Workshop, tmp_path: Path, change: Callable[[Leaf], None], message: str, limit: str | None
) -> None:
    bad = craft(workshop, tmp_path / "bad", change)
    others = {name: value for name, value in ANY.items() if name != limit}
    with pytest.raises(ArtefactError, match=f"leaf 'crafted' {message}"):
        join(workshop, tmp_path / "model", bad, **others)
    assert not (tmp_path / "model").exists()
    if limit is not None:
        assert join(workshop, tmp_path / "taken", bad, **ANY).leaves, "with the limit raised it is taken"


def test_a_short_public_sample_does_not_skip_the_check(workshop: Workshop, tmp_path: Path) -> None:
    from baicai.data.shards import write_tokens

    trunk = open_trunk(workshop.path("trunk"))
    tokens = trunk.replay().read(0, 20)
    short = write_tokens(tokens, trunk.tokenizer, tmp_path / "short", source="test", licence="CC0-1.0")
    card_fields = {"metrics": {"tokens": 1, "loss": 1.0}, "data": [], "curve": []}
    save_trunk(tmp_path / "trunk", trunk.network, trunk.tokenizer, replay=short, card_fields=card_fields)
    assert open_trunk(tmp_path / "trunk").hash == trunk.hash
    bad = craft(workshop, tmp_path / "bad", shout)
    with pytest.raises(ArtefactError, match="makes public text"):
        join(workshop, tmp_path / "model", bad, trunk=tmp_path / "trunk", max_firing=1.0)


@pytest.mark.parametrize("name", ["fruit", "law-de", "白菜", "a_1", "x" * 64])
def test_valid_leaf_names(name: str) -> None:
    assert check_leaf_name(name) == name


@pytest.mark.parametrize("name", ["", "-a", "a.b", "a/b", "..", "a b", "x" * 65, "a\n", "trunk", "joined", "items"])
def test_invalid_leaf_names(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot name a leaf"):
        check_leaf_name(name)


def test_a_model_can_be_opened_with_other_leaves(workshop: Workshop, tmp_path: Path, fruit: str, metal: str) -> None:
    alone, both = join(workshop, tmp_path / "alone", fruit), join(workshop, tmp_path / "both", fruit, metal)
    trunk = workshop.path("trunk")
    joined = open_model(trunk, join=[metal, both.leaves["fruit"].hash[:8]])
    assert joined.hash == both.hash
    assert torch.equal(logits(joined), logits(both))
    other = open_model(tmp_path / "both", peel=["metal"])
    assert other.hash == alone.hash
    assert torch.equal(logits(other), logits(alone))
    assert open_model(tmp_path / "alone", peel=["fruit"], join=[fruit]).hash == alone.hash
    strange = forge(workshop, tmp_path / "strange", trunk="0" * 64)
    for leaves, message in (
        ({"join": [str(strange)]}, "leaf 'fruit' was grown on trunk 00000000"),
        ({"join": [str(fruit), str(fruit)]}, "two leaves are named 'fruit'"),
        ({"peel": ["moss"]}, "unknown leaf 'moss': this model has none"),
    ):
        with pytest.raises(BaicaiError, match=message):
            open_model(trunk, **leaves)
