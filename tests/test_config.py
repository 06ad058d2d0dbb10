"""Recipes: reading, rejection of invalid keys and values, and error messages."""

import dataclasses
import json
from pathlib import Path
from typing import ClassVar

import pytest

from baicai.config import canonical_json, from_table, read_recipe, recipe, recipe_keys, to_table
from baicai.data.sources import SourceConfig
from baicai.errors import ConfigError
from baicai.leaves.grow import GrowRecipe
from baicai.leaves.join import JoinRecipe
from baicai.leaves.train_tokenizer import TokenizerRecipe
from baicai.leaves.train_trunk import TrunkRecipe
from baicai.model.config import GQAConfig, LeafConfig, MLAConfig
from baicai.training.config import TrainConfig

TRUNK = """
tokenizer = "out/tokenizer"
data = [{ domain = "law", path = "texts/law", weight = 2 }]

[model]
vocab_size = 320
dim = 32
num_layers = 3
ffn_dim = 64

[model.attention]
num_heads = 4
num_kv_heads = 2
head_dim = 8

[train]
tokens = 1000
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "trunk.toml"
    path.write_text(TRUNK)
    return path


def test_a_recipe_is_read_from_toml_and_defaults_are_filled_in(file: Path) -> None:
    config = read_recipe(TrunkRecipe, file)
    assert config.tokenizer == "out/tokenizer"
    assert config.data == [SourceConfig(path="texts/law", domain="law", weight=2.0)]
    assert config.model.attention == GQAConfig(num_heads=4, num_kv_heads=2, head_dim=8)
    assert (config.train.tokens, config.train.batch_sequences, config.replay) == (1000, 16, "documents")


def test_overrides_win_and_reach_into_tables(file: Path) -> None:
    words = ["train.tokens=5", "train.learning_rate=1e-3", "model.attention.qk_norm=true", "replay=sampled"]
    config = read_recipe(TrunkRecipe, file, words)
    assert (config.train.tokens, config.train.learning_rate) == (5, 1e-3)
    assert config.model.attention == GQAConfig(num_heads=4, num_kv_heads=2, head_dim=8, qk_norm=True)
    assert config.replay == "sampled"
    assert config.model.dim == 32


def test_a_recipe_can_be_all_overrides_and_the_last_one_counts() -> None:
    config = read_recipe(JoinRecipe, None, ["trunk=out/trunk", 'leaves=["a", "b"]', "max_harm=0.1", "max_harm=0.2"])
    assert config == JoinRecipe(trunk="out/trunk", leaves=["a", "b"], max_harm=0.2)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("out/trunk", "out/trunk"),
        ("'quoted'", "quoted"),
        ("12345678", "12345678"),  # a short hash of digits only
        ("1234e567", "1234e567"),  # one that reads like a float
        ("true", "true"),
        ("1979-05-27", "1979-05-27"),
        ("a=b", "a=b"),
        ("", ""),
    ],
)
def test_text_is_kept_where_the_key_is_a_string(text: str, value: str) -> None:
    assert read_recipe(JoinRecipe, None, [f"trunk={text}", "leaves=[]"]).trunk == value


def test_another_union_member_is_chosen_by_its_kind(file: Path) -> None:
    sizes = "{kind='mla', num_heads=2, kv_lora_rank=8, nope_head_dim=4, rope_head_dim=2, value_head_dim=4}"
    config = read_recipe(TrunkRecipe, file, [f"model.attention={sizes}"])
    assert isinstance(config.model.attention, MLAConfig)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train.learning_rat=1"], "unknown key 'train.learning_rat': the nearest is 'train.learning_rate'"),
        (["repaly=sampled"], "unknown key 'repaly': the nearest is 'replay'"),
        (["model.attention.num_head=4"], "unknown key 'model.attention.num_head': the nearest is 'model.att"),
        (["data=[{path='x', weigth=3}]"], "unknown key 'data.0.weigth': the nearest is 'data.weight'"),
        (["train.tokens=many"], "key 'train.tokens' = 'many': Input should be a valid integer"),
        (["train.tokens=1.5"], "key 'train.tokens' = 1.5"),
        (["train.learning_rate=nan"], "key 'train.learning_rate' = nan"),
        (["train=3"], "key 'train' = 3"),
        (["train.device=gpu"], "key 'train.device' = 'gpu'"),
        (["model.dim=0"], "key 'model.dim' = 0: Input should be greater than or equal to 1"),
        (["train.batch_sequences=0"], "key 'train.batch_sequences' = 0"),
        (["train.sequence_tokens=-1"], "key 'train.sequence_tokens' = -1"),
        (["train.log_steps=0"], "key 'train.log_steps' = 0"),
        (["train.learning_rate=-1.0"], "key 'train.learning_rate' = -1.0: Input should be greater than 0"),
        (["train.final_share=2.0"], "key 'train.final_share' = 2.0"),
        (["splice=1.5"], "key 'splice' = 1.5"),
        (["data=[{path='x', weight=0.0}]"], "key 'data.0.weight' = 0.0"),
        (["data=['a/train.txt', 'b/train.txt']"], "two sources have the domain 'train'"),
        (["model.attention.head_dim=7"], "head_dim 7 must be even"),
        (["model.attention.kind=mla", "model.attention.kv_lora_rank=8"], "unknown key 'model.attention.num_kv_heads'"),
        (["data=[{weight=3}]"], "key 'data.0.path' is missing"),
        (["tokens"], "'tokens' is not key=value"),
        (["=5"], "'=5' is not key=value"),
        (["tokenizer.x=1"], "key 'tokenizer.x': 'tokenizer' is a value, not a table"),
    ],
)
def test_errors_are_one_line_and_name_the_key(file: Path, words: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_recipe(TrunkRecipe, file, words)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "function-after" not in str(caught.value)


def test_missing_brackets_are_explained() -> None:
    with pytest.raises(ConfigError, match=r"""key 'leaves' = 'law': .* in a shell 'leaves=\["A", "B"\]'"""):
        read_recipe(JoinRecipe, None, ["trunk=x", "leaves=law"])


def test_a_missing_key_is_named_with_the_file(tmp_path: Path) -> None:
    file = tmp_path / "join.toml"
    file.write_text('trunk = "x"')
    with pytest.raises(ConfigError, match=r"join\.toml: key 'leaves' is missing: add it to the recipe or as leaves="):
        read_recipe(JoinRecipe, file)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"trunk = ", "cannot be read"), (b"\xff\xfe", "cannot be read"), (None, "does not exist: check the path")],
)
def test_an_unreadable_recipe_is_named_in_the_error(tmp_path: Path, content: bytes | None, message: str) -> None:
    file = tmp_path / "bad.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        read_recipe(JoinRecipe, file)
    assert str(file) in str(caught.value)


def test_a_folder_is_not_a_recipe(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_recipe(JoinRecipe, tmp_path)


def test_a_table_given_in_part_keeps_the_recipes_defaults() -> None:
    config = read_recipe(GrowRecipe, None, ["name=law", "trunk=t", "data=x", "train.seed=3", "leaf.top_k=2"])
    default = GrowRecipe(name="law", trunk="t", data=config.data)
    assert config.train == dataclasses.replace(default.train, seed=3)
    assert config.leaf == dataclasses.replace(default.leaf, top_k=2)
    with pytest.raises(ConfigError, match=r"key 'train\.batch_sequences' = 0"):
        read_recipe(GrowRecipe, None, ["name=law", "trunk=t", "data=x", "train.batch_sequences=0"])


def test_canonical_json_has_one_form() -> None:
    assert canonical_json({"b": [1, 2.5, None], "a": {"z": "白菜", "y": True}}) == (
        '{"a":{"y":true,"z":"白菜"},"b":[1,2.5,null]}'.encode()
    )
    assert canonical_json({"a": 1, "b": 2}) == canonical_json({"b": 2, "a": 1})
    with pytest.raises(ValueError, match="JSON"):
        canonical_json(float("nan"))


def test_a_recipe_survives_conversion_to_a_table_and_back(file: Path) -> None:
    config = read_recipe(TrunkRecipe, file)
    table = json.loads(json.dumps(to_table(config)))
    assert table["train"]["batch_sequences"] == 16
    assert from_table(TrunkRecipe, table, "test") == config


def test_recipes_are_frozen_and_take_keywords_only() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        LeafConfig().num_experts = 9  # type: ignore[misc]
    with pytest.raises(ConfigError, match="JoinRecipe: key 'topk_group' = 0"):
        JoinRecipe(trunk="x", leaves=[], topk_group=0)


def test_recipe_keys_lists_all_keys_with_dots() -> None:
    keys = recipe_keys(TrunkRecipe)
    assert {"tokenizer", "data", "data.path", "model.attention.head_dim", "train.learning_rate"} <= set(keys)
    assert "model.attention.kv_lora_rank" in keys, "the other kind of attention has keys too"
    assert "train" not in keys
    assert len(keys) == len(set(keys))
    assert recipe_keys(TrainConfig) == [field.name for field in dataclasses.fields(TrainConfig)]


@pytest.mark.parametrize(
    ("path", "domain"),
    [
        ("texts/law", "law"),
        ("law.jsonl.zst", "law"),
        ("hf:owner/books", "books"),
        ("/", "text"),
    ],
)
def test_a_plain_path_is_a_source_named_after_it(path: str, domain: str) -> None:
    sources = read_recipe(TokenizerRecipe, None, [f"data={path}"]).data
    assert sources == [SourceConfig(path=path, domain=domain)]
    assert from_table(TokenizerRecipe, {"data": [path, {"path": path, "domain": "mine"}]}, "test").data == [
        SourceConfig(path=path, domain=domain),
        SourceConfig(path=path, domain="mine"),
    ]
    assert read_recipe(TokenizerRecipe, None, [f"data.path={path}", "data.weight=2"]).data == [
        SourceConfig(path=path, domain=domain, weight=2.0)
    ]


def test_union_members_without_validators_are_distinguished() -> None:
    @recipe
    class Circle:
        radius: int

    @recipe
    class Square:
        side: int

    @recipe
    class Drawing:
        shape: Circle | Square

    with pytest.raises(ConfigError, match=r"^test: unknown key 'shape\.sid': the nearest is 'shape\.side'$"):
        from_table(Drawing, {"shape": {"sid": 3}}, "test")


@recipe
class Renamed:
    """A recipe with a key that had another name."""

    RENAMED: ClassVar[dict[str, str]] = {"texts": "max_sequences"}

    max_sequences: int = 16


@recipe
class Outer:
    """A recipe that contains it."""

    inner: Renamed = dataclasses.field(default_factory=Renamed)


@pytest.mark.parametrize(("kind", "key"), [(Renamed, "texts"), (Outer, "inner.texts")])
def test_a_former_key_names_its_successor(kind: type, key: str) -> None:
    with pytest.raises(ConfigError, match=f"key '{key}' is now called 'max_sequences': rename it"):
        read_recipe(kind, None, [f"{key}=4"])


def test_former_key_of_a_table_is_unknown_outside_it() -> None:
    with pytest.raises(ConfigError, match="unknown key 'texts': the nearest is 'inner"):
        read_recipe(Outer, None, ["texts=4"])
