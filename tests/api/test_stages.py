"""The stages as functions: they check keys as recipes do, resume, and give the same artefacts as the command line."""

import ast
import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

import baicai
from baicai.config import to_table
from baicai.leaves.leaf import open_leaf
from baicai.leaves.trunk import open_trunk
from tests.conftest import LEAF, TRAIN, Workshop

PACKAGE = Path(baicai.__file__).parent


def test_growing_joining_and_peeling_give_the_artefacts_of_the_stages(workshop: Workshop, tmp_path: Path) -> None:
    leaf = baicai.grow(
        name="fruit",
        trunk=Path(workshop.path("trunk")),
        data=[workshop.text("fruit")],
        public_share=0.6,
        leaf=LEAF,
        train=to_table(TRAIN),
        out=tmp_path / "fruit",
    )
    trunk = open_trunk(workshop.path("trunk"))
    assert open_leaf(leaf, trunk).hash == open_leaf(workshop.path("fruit"), trunk).hash
    model = baicai.join(trunk=workshop.path("trunk"), leaves=[leaf, workshop.path("metal")], out=tmp_path / "model")
    assert baicai.open(model).hash == baicai.open(workshop.path("model")).hash
    peeled = baicai.peel(model=model, leaves=["metal"], out=tmp_path / "peeled")
    assert baicai.open(peeled).leaves == ["fruit"]
    assert baicai.peel(model=model, leaves=["metal"], out=tmp_path / "peeled") == peeled, (
        "a second call returns at once"
    )


def test_keywords_win_over_the_recipe_file_and_reach_into_tables(workshop: Workshop, tmp_path: Path) -> None:
    recipe = tmp_path / "grow.toml"
    recipe.write_text("public_share = 0.6\n[leaf]\nfirst_layer = 1\nnum_experts = 4\n[train]\nbatch_sequences = 8\n")
    train = {key: value for key, value in to_table(TRAIN).items() if key != "batch_sequences"} | {"tokens": 1024}
    leaf = baicai.grow(
        recipe,
        name="small",
        trunk=workshop.path("trunk"),
        data=str(workshop.folder / "fruit.txt"),
        leaf={"expert_dim": 16, "top_k": 2, "num_experts": 2},
        train=train,
        out=tmp_path / "small",
    )
    opened = open_leaf(leaf, open_trunk(workshop.path("trunk")))
    assert opened.experts.config == dataclasses.replace(LEAF, num_experts=2)


def test_a_misspelt_key_is_named_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(baicai.ConfigError, match="unknown key 'trnk': the nearest is 'trunk'"):
        baicai.grow(name="a", trnk="b", data="c", out=tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_gathered_text_is_published_and_pulled(tmp_path: Path) -> None:
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "one.md").write_text("A page about apples and pears. " * 20)
    source = {"path": tmp_path / "pages", "base_url": "https://pages.example", "clean": {"licence": "CC0-1.0"}}
    assert baicai.gather(sources=[source], workers=1, out=tmp_path / "warehouse") == 1
    manifest = baicai.publish(tmp_path / "warehouse", out=tmp_path / "release")
    assert manifest.version == 1
    assert baicai.pull(tmp_path / "release", out=tmp_path / "text").documents == 1


def test_the_stub_names_what_the_package_exports() -> None:
    tree = ast.parse((PACKAGE / "__init__.pyi").read_text())
    imported = {alias.asname for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert {*baicai.__all__} == {*imported, "__version__"}
    assert all(callable(getattr(baicai, name)) for name in imported if name)
    assert set(dir(baicai)) == set(baicai.__all__)
    with pytest.raises(AttributeError, match="no attribute 'grows'"):
        _ = baicai.grows  # type: ignore[attr-defined]


def test_importing_the_package_loads_no_dependency() -> None:
    program = "import sys; before = set(sys.modules); import baicai; print(*set(sys.modules) - before)"
    modules = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert {name.partition(".")[0] for name in modules} <= {"baicai", *sys.stdlib_module_names}
