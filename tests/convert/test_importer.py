"""Checkpoints of other projects become trunks with the same logits, up to rounding."""

import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from baicai.artefact import read_json
from baicai.convert import hub, importer
from baicai.convert.hf_config import read_hf_config
from baicai.convert.importer import ImportRecipe, import_checkpoint
from baicai.convert.lazy_safetensors import (
    SINGLE_FILE,
    LazyTensor,
    concatenate,
    in_memory,
    open_safetensors,
    stack,
    write_safetensors,
)
from baicai.convert.tensor_names import trunk_names, trunk_shapes
from baicai.errors import ArtefactError, BaicaiError, MachineError
from baicai.leaves.grow import GrowRecipe, grow_leaf
from baicai.leaves.trunk import open_trunk
from baicai.model.config import LeafConfig
from baicai.run import run_stage
from baicai.training.config import TrainConfig
from tests.conftest import Workshop
from tests.convert.checkpoints import CHATML, VOCAB, byte_level, checkpoint

transformers = pytest.importorskip("transformers")

LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
YARN = {"rope_type": "yarn", "rope_theta": 1000.0, "factor": 4.0, "original_max_position_embeddings": 32}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "llama-tied": ("Llama", {"tie_word_embeddings": True, "num_key_value_heads": 4}),
    "llama-head-size": ("Llama", {"head_dim": 16}),
    "llama-linear": ("Llama", {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}}),
    "llama-3": ("Llama", {"rope_parameters": LLAMA3_ROPE}),
    "llama-yarn": ("Llama", {"rope_parameters": YARN}),
    "llama-yarn-attention": ("Llama", {"rope_parameters": YARN | {"attention_factor": 0.7, "beta_fast": 16.0}}),
    "llama-yarn-mscale": (
        "Llama",
        {"rope_parameters": YARN | {"mscale": 1.0, "mscale_all_dim": 0.7, "truncate": False}},
    ),
    "mistral": ("Mistral", {"sliding_window": None, "rms_norm_eps": 1e-5}),
    "mistral-window": ("Mistral", {"sliding_window": 64}),
    "qwen2": ("Qwen2", {"tie_word_embeddings": True}),
    "qwen2-window": ("Qwen2", {"use_sliding_window": True, "sliding_window": 64, "max_window_layers": 1}),
    "qwen3": ("Qwen3", {"head_dim": 16}),
}


def import_to(source: Path, out: Path, **keys: Any) -> Path:
    run_stage(import_checkpoint, ImportRecipe(source=str(source), **{"replay_tokens": 0} | keys), out)
    return out


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A small Llama."""
    checkpoint(tmp_path / "theirs", "Llama")
    byte_level(tmp_path / "theirs", "qwen", CHATML)
    return tmp_path / "theirs"


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_logits_equal_transformers(family: str, tmp_path: Path) -> None:
    kind, changes = FAMILIES[family]
    network = checkpoint(tmp_path / "theirs", kind, **changes)
    byte_level(tmp_path / "theirs", "qwen", CHATML)
    trunk = open_trunk(import_to(tmp_path / "theirs", tmp_path / "trunk"))
    windowed = family.endswith("window")
    assert trunk.network.config.max_tokens == (64 if windowed else 128)
    tokens_BS = torch.randint(VOCAB, (2, trunk.network.config.max_tokens))
    assert (network(tokens_BS).logits - trunk.network(tokens_BS)).abs().max() <= 1e-4


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_stored_precision_is_preserved(dtype: str, tmp_path: Path) -> None:
    checkpoint(tmp_path / "theirs", "Llama", dtype=dtype)
    byte_level(tmp_path / "theirs", "qwen", CHATML)
    out = import_to(tmp_path / "theirs", tmp_path / "trunk")
    stored, given = load_file(out / "trunk.safetensors"), load_file(tmp_path / "theirs" / SINGLE_FILE)
    assert {tensor.dtype for tensor in stored.values()} == {getattr(torch, dtype)}
    assert torch.equal(stored["layers.1.shared.down.weight"], given["model.layers.1.mlp.down_proj.weight"])
    opened = open_trunk(out)
    assert torch.equal(opened.network.embedding.weight, given["model.embed_tokens.weight"])


def test_shards_and_older_configs_give_the_same_trunk(theirs: Path, tmp_path: Path) -> None:
    expected = open_trunk(import_to(theirs, tmp_path / "one"))
    shutil.copytree(theirs, tmp_path / "sharded")
    (tmp_path / "sharded" / SINGLE_FILE).unlink()
    checkpoint(tmp_path / "sharded", "Llama", shard="40KB")
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 2
    config = read_json(tmp_path / "sharded" / "config.json")
    del config["rope_parameters"], config["head_dim"]
    config |= {"rope_theta": 10000.0, "rope_scaling": None, "torch_dtype": "float32"}
    (tmp_path / "sharded" / "config.json").write_text(json.dumps(config))
    assert open_trunk(import_to(tmp_path / "sharded", tmp_path / "other")).hash == expected.hash


def test_the_card_names_the_origin(theirs: Path, tmp_path: Path) -> None:
    (theirs / "README.md").write_text("---\nlanguage: en\nlicense: apache-2.0\n---\n# A model\n")
    out = import_to(theirs, tmp_path / "trunk")
    assert open_trunk(out).card["imported"] == {
        "name": "theirs",
        "architecture": "LlamaForCausalLM",
        "licence": "apache-2.0",
    }
    assert "imported from theirs (LlamaForCausalLM), licence apache-2.0" in (out / "README.md").read_text()


def test_a_leaf_grows_with_generated_replay_text(theirs: Path, workshop: Workshop, tmp_path: Path) -> None:
    trunk = open_trunk(import_to(theirs, tmp_path / "trunk", replay_tokens=None))
    assert trunk.replay().num_tokens == 8192 // 127 * 127
    assert trunk.replay().manifest.sources == {"written by the trunk itself": 1}
    recipe = GrowRecipe(
        name="fruit",
        trunk=str(tmp_path / "trunk"),
        data=[workshop.text("fruit")],
        leaf=LeafConfig(num_experts=2, expert_dim=8, top_k=1),
        train=TrainConfig(tokens=128, batch_sequences=2, sequence_tokens=32),
    )
    assert run_stage(grow_leaf, recipe, tmp_path / "leaf")


def test_the_public_sample_can_be_given(theirs: Path, workshop: Workshop, tmp_path: Path) -> None:
    out = import_to(theirs, tmp_path / "trunk", public=[workshop.text("public")], replay_tokens=1000)
    replay = open_trunk(out).replay()
    assert replay.num_tokens == 1000 // 127 * 127
    text = open_trunk(out).tokenizer.decode(replay.read(0, 100).tolist())
    assert text in (workshop.folder / "public.txt").read_text()


def test_growing_without_a_public_sample_is_one_clear_error(theirs: Path, tmp_path: Path) -> None:
    trunk = open_trunk(import_to(theirs, tmp_path / "trunk"))
    assert not (tmp_path / "trunk" / "replay").exists()
    with pytest.raises(ArtefactError, match=r"trunk .* has no public sample: import it again with public=TEXT"):
        trunk.replay()


def test_a_large_trunk_is_imported_without_generated_text(
    theirs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importer, "MAX_GENERATION_OPERATIONS", 1e6)
    assert open_trunk(import_to(theirs, tmp_path / "trunk", replay_tokens=None)).card["replay"] is None


def test_padding_rows_of_the_embedding_are_never_generated(theirs: Path, tmp_path: Path) -> None:
    trunk = open_trunk(import_to(theirs, tmp_path / "trunk", replay_tokens=400))
    assert trunk.tokenizer.vocab_size < VOCAB
    assert trunk.replay().read(0, 300).max() < trunk.tokenizer.vocab_size


MEMORY = """
import resource, sys
from pathlib import Path
from baicai.convert.importer import ImportRecipe, import_checkpoint
from baicai.run import run_stage
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
run_stage(import_checkpoint, ImportRecipe(source=sys.argv[1], replay_tokens=0), Path(sys.argv[2]))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


def test_a_checkpoint_larger_than_memory_imports(theirs: Path, tmp_path: Path) -> None:
    changes = {"hidden_size": 1024, "head_dim": 256, "intermediate_size": 2048, "num_hidden_layers": 8}
    edit(**changes, tie_word_embeddings=True)(theirs)
    model = read_hf_config(read_json(theirs / "config.json"), "config.json").model
    names, shapes = trunk_names(model, model.num_layers), trunk_shapes(model)

    def zeros(shape: tuple[int, ...]) -> LazyTensor:
        dtype = torch.bfloat16
        return LazyTensor(dtype, shape, lambda first, stop: torch.zeros((stop - first, *shape[1:]), dtype=dtype))

    write_safetensors(theirs / SINGLE_FILE, {names[name]: zeros(shape) for name, shape in shapes.items()})
    total = (theirs / SINGLE_FILE).stat().st_size
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(theirs), str(tmp_path / "out")], capture_output=True, text=True, check=True
    )
    assert total > 130e6
    assert int(done.stdout) < total / 3, "tensors must be read one at a time"
    assert len(open_safetensors(tmp_path / "out" / "trunk.safetensors")) == len(shapes)


def edit(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        config = {**read_json(folder / "config.json"), **changes}
        (folder / "config.json").write_text(json.dumps(config))

    return change


def tensors(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], None]:
    def changed(folder: Path) -> None:
        checkpoint = load_file(folder / SINGLE_FILE)
        change(checkpoint)
        save_file({name: tensor.contiguous() for name, tensor in checkpoint.items()}, folder / SINGLE_FILE)

    return changed


def add(name: str, tensor: torch.Tensor) -> Callable[[Path], None]:
    return tensors(lambda checkpoint: checkpoint.update({name: tensor}))


def lose(*names: str) -> Callable[[Path], None]:
    def lost(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return lost


def only_pickles(folder: Path) -> None:
    (folder / SINGLE_FILE).rename(folder / "pytorch_model.bin")


def lose_a_shard(folder: Path) -> None:
    (folder / SINGLE_FILE).unlink()
    checkpoint(folder, "Llama", shard="40KB")
    sorted(folder.glob("*.safetensors"))[1].unlink()


def swap_shards(folder: Path) -> None:
    (folder / SINGLE_FILE).unlink()
    checkpoint(folder, "Llama", shard="40KB")
    first, second, *_ = sorted(folder.glob("*.safetensors"))
    shutil.copy(first, second)


def cut(folder: Path) -> None:
    content = (folder / SINGLE_FILE).read_bytes()
    (folder / SINGLE_FILE).write_bytes(content[:-100])


def header(changes: dict[str, dict[str, Any]]) -> Callable[[Path], None]:
    def changed(folder: Path) -> None:
        plain = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
        text = json.dumps({name: plain | change for name, change in changes.items()}).encode()
        (folder / SINGLE_FILE).write_bytes(len(text).to_bytes(8, "little") + text + bytes(64))

    return changed


def write(name: str, content: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_text(content)


def no_end(folder: Path) -> None:
    edit(eos_token_id=None)(folder)
    lose("tokenizer_config.json", "generation_config.json")(folder)


GATE, OUT = "model.layers.0.mlp.gate_proj.weight", "model.layers.0.self_attn.o_proj.bias"
DYNAMIC = {"rope_type": "dynamic", "factor": 2.0}
DAMAGES: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "architecture": ("architecture Gemma cannot be imported; supported: Llama", edit(architectures=["Gemma"])),
    "no architecture": ("architecture none cannot be imported", edit(architectures=None)),
    "rope type": ("rope type 'dynamic' cannot be imported", edit(rope_parameters=DYNAMIC)),
    "longrope": ("rope type 'longrope' cannot", edit(rope_parameters=None, rope_scaling={"type": "longrope"})),
    "partial rotary": ("with partial_rotary_factor other than 1", edit(partial_rotary_factor=0.5)),
    "quantised": ("with quantization_config (use the original", edit(quantization_config={"quant_method": "gptq"})),
    "activation": ("with hidden_act other than silu", edit(hidden_act="gelu")),
    "mlp bias": ("with mlp_bias", edit(mlp_bias=True)),
    "no heads": ("key 'num_attention_heads' = None: it must be", edit(num_attention_heads=None)),
    "odd sizes": ("num_heads 4 is not a multiple of num_kv_heads 3", edit(num_key_value_heads=3)),
    "no width": ("key 'hidden_size' = 'wide': it must be a whole number", edit(hidden_size="wide", head_dim=8)),
    "other sizes": (f"'{GATE}' has shape [48, 32], config.json requires [64, 32]", edit(intermediate_size=64)),
    "fewer layers": ("unexpected tensor 'model.layers.1.", edit(num_hidden_layers=1)),
    "more layers": ("tensor 'model.layers.2.input_layernorm.weight' is missing", edit(num_hidden_layers=3)),
    "small embedding": ("the tokenizer has 331 tokens, the embedding 300 rows", edit(vocab_size=300)),
    "untied": ("tie_word_embeddings is true, but lm_head.weight differs", edit(tie_word_embeddings=True)),
    "no head": (
        "is missing, and tie_word_embeddings is false",
        tensors(lambda checkpoint: checkpoint.pop("lm_head.weight")),
    ),
    "missing tensor": (
        f"tensor '{GATE}' is missing: copy the checkpoint",
        tensors(lambda checkpoint: checkpoint.pop(GATE)),
    ),
    "unexpected tensor": ("unexpected tensor 'model.extra.weight'", add("model.extra.weight", torch.ones(3))),
    "output bias": ("a bias after attention is not supported", add(OUT, torch.ones(32))),
    "int8": (f"'{GATE}' has type I8, expected F32, BF16 or F16", add(GATE, torch.ones(48, 32, dtype=torch.int8))),
    "scalar": ("'scale' is a scalar", add("scale", torch.tensor(1.0))),
    "not finite": (
        f"'{GATE}' holds NaN or infinite values",
        tensors(lambda checkpoint: checkpoint[GATE].fill_(torch.inf)),
    ),
    "pickles": ("only has pickle files (.bin), which can run code", only_pickles),
    "no weights": ("model.safetensors is missing: copy", lose(SINGLE_FILE)),
    "lost shard": ("-of-00004.safetensors is missing: copy", lose_a_shard),
    "wrong shard": ("lacks 'model.", swap_shards),
    "bad index": ("has no weight_map", write("model.safetensors.index.json", "{}")),
    "cut": ("model.safetensors is damaged at", cut),
    "no safetensors": ("model.safetensors is damaged (", write(SINGLE_FILE, "no tensors at all")),
    "no config": ("is not a checkpoint in transformers' format: config.json is missing", lose("config.json")),
    "bad config": ("config.json cannot be read", write("config.json", "{")),
    "no tokenizer": ("tokenizer.json is missing: write it with", lose("tokenizer.json")),
    "bad tokenizer": ("is not a valid tokenizer: ", write("tokenizer.json", "{}")),
    "no end": ("names no end token: add eos_token", no_end),
    "architecture list": ("config.json is damaged (KeyError", edit(architectures={"a": 1})),
    "rope of words": ("config.json is damaged (", edit(rope_parameters=None, rope_scaling="yarn")),
    "yarn of no factor": (
        "config.json is damaged (KeyError",
        edit(rope_parameters={"rope_type": "yarn", "rope_theta": 1e4, "mscale": 1.0, "mscale_all_dim": 1.0}),
    ),
    "endless": ("max_tokens", edit(max_position_embeddings=10**9)),
    "one token": ("max_tokens", edit(max_position_embeddings=1)),
    "a tower of layers": ("num_layers", edit(num_hidden_layers=10**9)),
    "wide heads": ("head_dim", edit(head_dim=10**6)),
    "sizes": ("damaged at 'x' (sizes must be whole numbers)", header({"x": {"shape": [-2, -2]}})),
    "infinite size": ("damaged at 'x' (sizes must be whole numbers)", header({"x": {"shape": [float("inf")]}})),
    "parts of bytes": ("damaged at 'x' (sizes must be whole numbers)", header({"x": {"data_offsets": [0.0, 4.0]}})),
    "origin": ("baicai.json", write("baicai.json", '{"model": "x"}')),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_bad_input_is_one_clear_error_and_leaves_no_files(damage: str, theirs: Path, tmp_path: Path) -> None:
    message, change = DAMAGES[damage]
    change(theirs)
    with pytest.raises(BaicaiError) as error:
        import_to(theirs, tmp_path / "trunk")
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert {entry.name for entry in tmp_path.iterdir()} <= {"theirs", "trunk.run"}


@pytest.fixture
def small_disk() -> Iterator[None]:
    """Limit every file to 50 kB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_one_clear_error_and_leaves_no_files(theirs: Path, tmp_path: Path, small_disk: None) -> None:
    with pytest.raises(MachineError, match=r"no space left while writing .*: free some and run the same command again"):
        import_to(theirs, tmp_path / "trunk")
    assert {entry.name for entry in tmp_path.iterdir()} == {"theirs", "trunk.run"}


@pytest.mark.parametrize("join", [stack, concatenate])
def test_mixed_types_are_written_in_the_widest(join: Callable[..., LazyTensor], tmp_path: Path) -> None:
    parts = [torch.full((2, 3), value, dtype=dtype) for value, dtype in ((1.5, torch.bfloat16), (1.001, torch.float32))]
    write_safetensors(tmp_path / SINGLE_FILE, {"x": join([in_memory(part) for part in parts])})
    checkpoint = load_file(tmp_path / SINGLE_FILE)["x"]
    assert checkpoint.dtype == torch.float32
    assert torch.equal(checkpoint.view(-1, 3), torch.cat(parts))


def test_zero_biases_and_known_extra_tensors_are_skipped(theirs: Path, tmp_path: Path) -> None:
    expected = open_trunk(import_to(theirs, tmp_path / "one")).hash
    more = {
        "model.layers.0.self_attn.o_proj.bias": torch.zeros(32),
        "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4),
    }
    tensors(lambda checkpoint: checkpoint.update(more))(theirs)
    assert open_trunk(import_to(theirs, tmp_path / "other")).hash == expected


def test_config_hash_of_an_old_trunk_is_unchanged(workshop: Workshop) -> None:
    card = read_json(Path(workshop.path("trunk")) / "config.json")
    assert "rope_scaling" not in card["model"], "a size that came later must not change the hash of a trunk without it"


def test_a_name_is_downloaded_from_the_hub(theirs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked: dict[str, Any] = {}

    def fetch(name: str, allow_patterns: list[str]) -> str:
        asked.update(name=name, patterns=allow_patterns)
        return str(theirs)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    out = import_to(Path("org/some-model"), tmp_path / "trunk")
    assert asked == {"name": "org/some-model", "patterns": hub.ALLOW_PATTERNS}
    assert not any("bin" in pattern or "py" in pattern for pattern in hub.ALLOW_PATTERNS), "no pickles, no code"
    assert read_json(out / "config.json")["imported"]["name"] == "some-model"


def test_an_unreachable_hub_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def fail(*_: object, **__: object) -> str:
        raise huggingface_hub.errors.LocalEntryNotFoundError("Got: no network\nmore than one line")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    message = r"org/model is not a local folder and cannot be downloaded \(Got: no network\): check the name and"
    with pytest.raises(MachineError, match=message):
        hub.download_checkpoint("org/model")
    for source in ("nowhere", "/no/such/folder", str(tmp_path / "file")):
        (tmp_path / "file").touch()
        with pytest.raises(
            ArtefactError, match="is not a folder: pass the folder of a checkpoint or its name on the hub"
        ):
            hub.download_checkpoint(source)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MachineError, match=r"pip install 'baicai\[hub\]'"):
        hub.download_checkpoint("org/model")
