"""Law 9: an exported model gives the same logits in the other engine, and importing it restores the model."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from baicai.artefact import read_json
from baicai.convert.exporter import ExportRecipe, export_model
from baicai.convert.importer import ImportRecipe, import_checkpoint
from baicai.convert.lazy_safetensors import INDEX_FILE, SINGLE_FILE
from baicai.convert.parity import check_export, routing_gap
from baicai.data.tokenizer import Tokenizer
from baicai.errors import ArtefactError, ConfigError, MachineError
from baicai.leaves.join import PeelRecipe, peel_leaves
from baicai.leaves.model import SparseModel, open_model
from baicai.model.config import GQAConfig, LeafConfig, MLAConfig, RopeScaling
from baicai.model.router import LayerTrace
from baicai.run import run_stage
from tests.conftest import Workshop
from tests.convert.models import GQA, LATENT, MLA, PLAIN, make_model
from tests.references.loops import route_one

transformers = pytest.importorskip("transformers")

NORMED = GQAConfig(num_heads=4, num_kv_heads=2, head_dim=8, qk_norm=True)
BIASED = GQAConfig(num_heads=4, num_kv_heads=2, head_dim=8, qkv_bias=True)
NARROW = GQAConfig(num_heads=3, num_kv_heads=1, head_dim=8)
BARE_MLA = dataclasses.replace(LATENT, q_lora_rank=None)
YARN = RopeScaling(kind="yarn", factor=4.0, original_max_tokens=16, attention_factor=0.8)
LINEAR = RopeScaling(kind="linear", factor=4.0)
LLAMA3 = RopeScaling(kind="llama3", factor=4.0, original_max_tokens=32)
SINGLES = LeafConfig(first_layer=1, num_experts=1, expert_dim=20, top_k=1)
LOW = LeafConfig(first_layer=0, num_experts=4, expert_dim=16, top_k=3, routed_scaling_factor=1.5)
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "one leaf": ("Glm4Moe", {"attention": GQA, "num_leaves": 1}),
    "leaves": ("Glm4Moe", {"attention": NORMED, "num_leaves": 4}),
    "two of four": ("Glm4Moe", {"attention": PLAIN, "num_leaves": 4, "topk_group": 2}),
    "all leaves": ("Glm4Moe", {"attention": BIASED, "num_leaves": 2, "topk_group": 2, "tied_head": False}),
    "calibrated": ("Glm4Moe", {"attention": GQA, "calibration": 1.3}),
    "single experts": ("Glm4Moe", {"attention": GQA, "num_leaves": 4, "topk_group": 2, "leaf": SINGLES}),
    "from below": ("Glm4Moe", {"attention": GQA, "leaf": LOW}),
    "stretched": ("Glm4Moe", {"attention": PLAIN, "rope_scaling": YARN}),
    "latent, one leaf": ("DeepseekV3", {"attention": MLA, "num_leaves": 1, "tied_head": False}),
    "latent": ("DeepseekV3", {"attention": LATENT, "num_leaves": 4, "topk_group": 2, "ffn_dim": 50}),
    "latent, stretched": ("DeepseekV3", {"attention": BARE_MLA, "rope_scaling": LINEAR}),
    "latent trunk": ("DeepseekV3", {"attention": LATENT, "num_leaves": 0}),
    "trunk": ("Llama", {"attention": PLAIN, "num_leaves": 0, "rope_scaling": LLAMA3}),
    "narrow trunk": ("Mistral", {"attention": NARROW, "num_leaves": 0, "rope_scaling": YARN}),
    "normed trunk": ("Qwen3", {"attention": NORMED, "num_leaves": 0}),
    "biased trunk": ("Glm4Moe", {"attention": BIASED, "num_leaves": 0}),
    "normed and biased trunk": ("Glm4Moe", {"attention": GQA, "num_leaves": 0}),
}  # fmt: skip


@pytest.fixture
def tokenizer(workshop: Workshop) -> Tokenizer:
    return Tokenizer.open(Path(workshop.path("tokenizer")))


def send(model: SparseModel, out: Path, **keys: Any) -> Path:
    run_stage(export_model, ExportRecipe(model=str(model.trunk.path.parent / "model"), **keys), out)
    return out


def import_to(source: Path, out: Path) -> Path:
    run_stage(import_checkpoint, ImportRecipe(source=str(source), replay_tokens=0), out)
    return out


@torch.no_grad()
def differ(model: SparseModel, folder: Path) -> float:
    network = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    tokens_BS = torch.randint(320, (3, 40), generator=torch.Generator().manual_seed(2))
    return float((network(tokens_BS).logits - model.network(tokens_BS)).abs().max())


@pytest.mark.parametrize("case", CASES)
def test_logits_match_and_import_restores_the_model(case: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
    name, options = CASES[case]
    model = make_model(tmp_path, tokenizer, **options)
    out = send(model, tmp_path / "theirs")
    assert read_json(out / "config.json")["architectures"] == [f"{name}ForCausalLM"]
    assert differ(model, out) <= 1e-4
    back = open_model(import_to(out, tmp_path / "back"))
    tokens_BS = torch.randint(320, (3, 40))
    torch.testing.assert_close(
        back.network(tokens_BS), model.network(tokens_BS), atol=1e-5, rtol=0
    )  # leaves are in another order
    assert back.trunk.hash == model.trunk.hash
    assert (back.leaves.keys(), back.topk_group) == (model.leaves.keys(), model.topk_group)
    assert back.calibration == {}, "scales are in the rows of the routers now"


@pytest.mark.parametrize(
    ("attention", "num_leaves", "topk_group"), [(GQA, 1, 1), (GQA, 4, 2), (LATENT, 1, 1), (LATENT, 3, 1)]
)
def test_greedy_tokens_are_equal_over_200_prompts(
    attention: GQAConfig | MLAConfig, num_leaves: int, topk_group: int, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    model = make_model(tmp_path, tokenizer, attention, num_leaves, topk_group=topk_group)
    result = check_export(send(model, tmp_path / "theirs"), model)
    assert result.problem is None
    assert (result.prompts, result.equal_prompts) == (200, 200)
    assert (result.tokens, result.other_tokens) == (3200, 0)
    assert result.max_difference <= 1e-4


@pytest.mark.parametrize("attention", [GQA, LATENT], ids=["grouped", "latent"])
def test_a_peeled_leaf_is_not_exported(attention: GQAConfig | MLAConfig, tokenizer: Tokenizer, tmp_path: Path) -> None:
    whole = make_model(tmp_path, tokenizer, attention, 4)
    run_stage(peel_leaves, PeelRecipe(model=str(tmp_path / "model"), leaves=["leaf-1", "leaf-3"]), tmp_path / "peeled")
    peeled = open_model(tmp_path / "peeled")
    run_stage(export_model, ExportRecipe(model=peeled.hash[:12]), tmp_path / "theirs")
    result = check_export(tmp_path / "theirs", peeled, prompts=16)
    assert (result.problem, result.equal_prompts) == (None, 16)
    assert differ(whole, tmp_path / "theirs") > 1e-2


def test_a_round_trip_preserves_names_hashes_and_cards(workshop: Workshop, tmp_path: Path) -> None:
    model = open_model(workshop.path("model"))
    run_stage(export_model, ExportRecipe(model=workshop.path("model")), tmp_path / "theirs")
    result = check_export(tmp_path / "theirs", model, prompts=40)
    assert (result.problem, result.equal_prompts) == (None, 40)
    back = open_model(import_to(tmp_path / "theirs", tmp_path / "back"))
    assert back.hash == model.hash
    assert {name: leaf.hash for name, leaf in back.leaves.items()} == {n: one.hash for n, one in model.leaves.items()}
    assert back.trunk.card | {"replay": model.trunk.card["replay"]} == model.trunk.card
    for name, leaf in back.leaves.items():
        assert leaf.card == model.leaves[name].card
    run_stage(peel_leaves, PeelRecipe(model=str(tmp_path / "back"), leaves=["metal"]), tmp_path / "peeled")
    assert list(open_model(tmp_path / "peeled").leaves) == ["fruit"]


def test_reduced_precision_is_reported(tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = make_model(tmp_path, tokenizer, NORMED, 2)
    out = send(model, tmp_path / "theirs", dtype="bfloat16")
    result = check_export(out, model, prompts=24)
    assert result.problem is None
    assert result.engine.endswith("bfloat16")
    assert 1e-3 < result.mean_difference < 0.05
    stored = {tensor.dtype for tensor in load_file(out / SINGLE_FILE).values()}
    assert stored == {torch.bfloat16, torch.float32}, "the files hold what the trunk and the leaves hold"


def test_large_models_are_written_in_shards(tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = make_model(tmp_path, tokenizer)
    out = send(model, tmp_path / "theirs", max_shard_bytes=50_000)
    places = read_json(out / INDEX_FILE)["weight_map"]
    files = sorted(out.glob("*.safetensors"))
    assert len(files) > 2
    assert {file.name for file in files} == set(places.values())
    assert all(file.stat().st_size < 60_000 for file in files)
    assert differ(model, out) <= 1e-4
    assert open_model(import_to(out, tmp_path / "back")).trunk.hash == model.trunk.hash


def test_export_works_without_transformers(tokenizer: Tokenizer, tmp_path: Path) -> None:
    make_model(tmp_path, tokenizer)
    program = (
        "import sys\nfrom pathlib import Path\nfrom baicai.run import run_stage\n"
        "from baicai.convert.exporter import ExportRecipe, export_model\n"
        f"run_stage(export_model, ExportRecipe(model={str(tmp_path / 'model')!r}), Path({str(tmp_path / 'out')!r}))\n"
        "print('transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_mtp_module_is_not_exported(tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = make_model(tmp_path, tokenizer, mtp=True)
    assert differ(model, send(model, tmp_path / "theirs")) <= 1e-4
    back = open_model(import_to(tmp_path / "theirs", tmp_path / "back"))
    assert not back.network.config.mtp
    assert back.leaves.keys() == model.leaves.keys()


def test_an_unrepresentable_model_is_one_clear_error(tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = make_model(tmp_path, tokenizer, LATENT, norm_eps=1e-5)
    with pytest.raises(
        ConfigError, match="DeepseekV3ForCausalLM fixes the norm epsilon of compressed keys at 1e-06, but"
    ):
        send(model, tmp_path / "theirs")
    assert not (tmp_path / "theirs").exists()


def test_a_wrong_export_is_detected(tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = make_model(tmp_path, tokenizer)
    out = send(model, tmp_path / "theirs")
    result = load_file(out / SINGLE_FILE)
    router = result["model.layers.2.mlp.gate.weight"]
    router[0] += 0.2
    save_file(result, out / SINGLE_FILE, {"format": "pt"})
    problem = check_export(out, model, prompts=16).problem
    assert problem is not None
    assert "of 16 prompts, its logits differ from ours by more than rounding explains" in problem
    definition = json.loads((out / "tokenizer.json").read_text())
    (out / "tokenizer.json").write_text(json.dumps(definition | {"normalizer": {"type": "Lowercase"}}))
    assert "its tokenizer reads" in str(check_export(out, model, prompts=8).problem)
    other = make_model(tmp_path / "other", tokenizer, num_leaves=2)
    with pytest.raises(ArtefactError, match=rf"theirs is not an export of model {other.hash[:8]}: export it again"):
        check_export(out, other)


def test_a_missing_engine_is_named(tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model(tmp_path, tokenizer)
    out = send(model, tmp_path / "theirs")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MachineError, match="needs transformers: pip install tra"):
        check_export(out, model)


def test_a_routing_tie_is_detected(tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = make_model(tmp_path, tokenizer, NORMED, 4, topk_group=2)
    trace: list[LayerTrace] = []
    model.network(torch.randint(320, (1, 12)), trace=trace)
    gaps = routing_gap(model, trace)
    assert gaps.shape == (12,)
    for token in range(12):
        nearest = []
        for number, layer in enumerate(trace):
            bias_GE = torch.stack([leaf.experts.layer_list()[number].bias_E for leaf in model.leaves.values()])
            logits_GE = layer.logits_TGE[token]
            choice_GE = logits_GE.sigmoid() + bias_GE
            scores = sorted((float(row.topk(2).values.sum()) for row in choice_GE), reverse=True)
            nearest.append(scores[1] - scores[2])
            chosen = route_one(logits_GE, bias_GE, 2, 8, [True] * 4)  # all experts of the chosen leaves
            ordered = [float(choice_GE[leaf, expert]) for leaf, expert, _ in chosen]
            nearest.append(ordered[1] - ordered[2])
        assert gaps[token] == pytest.approx(min(nearest), abs=1e-6)


class TestForeign:
    """Checkpoints of these classes from other projects."""

    def theirs(self, folder: Path, tokenizer: Tokenizer, family: str, **changes: Any) -> Any:
        torch.manual_seed(0)
        sizes: dict[str, Any] = {
            "vocab_size": 330,
            "hidden_size": 32,
            "intermediate_size": 40,
            "moe_intermediate_size": 16,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "max_position_embeddings": 64,
            "n_routed_experts": 8,
            "num_experts_per_tok": 3,
            "n_shared_experts": 3,
            "n_group": 2,
            "topk_group": 1,
            "first_k_dense_replace": 1,
            "norm_topk_prob": False,
            "num_nextn_predict_layers": 0,
        }
        if family == "DeepseekV3":
            sizes |= {"kv_lora_rank": 16, "q_lora_rank": 24, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8}
            sizes |= {"v_head_dim": 8, "rms_norm_eps": 1e-6}
        else:
            sizes |= {"head_dim": 8, "partial_rotary_factor": 1.0, "use_qk_norm": True}
        config = getattr(transformers, f"{family}Config")(**(sizes | changes))
        network = getattr(transformers, f"{family}ForCausalLM")(config).eval()
        with torch.no_grad():
            for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
                if "norm" in name:
                    tensor.uniform_(0.5, 1.5)
                elif "correction_bias" in name:
                    tensor.uniform_(3.0, 3.15)
                elif "rotary" not in name:
                    tensor.normal_(std=0.15)
        transformers.utils.logging.disable_progress_bar()
        network.save_pretrained(folder)
        tokenizer.save(folder / "tokenizer.json")
        (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|end|>"}))
        return network

    @pytest.mark.parametrize("family", ["DeepseekV3", "Glm4Moe"])
    @torch.no_grad()
    def test_a_checkpoint_becomes_a_trunk_and_leaves(self, family: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
        network = self.theirs(tmp_path / "theirs", tokenizer, family)
        model = open_model(import_to(tmp_path / "theirs", tmp_path / "back"))
        assert sorted(model.leaves) == ["leaf-0", "leaf-1"]
        assert model.network.config.ffn_dim == 48, "the wider of its two feed-forwards, the other filled with zeros"
        tokens_BS = torch.randint(320, (3, 40))
        assert (network(tokens_BS).logits - model.network(tokens_BS)).abs().max() <= 1e-4
        assert model.leaves["leaf-0"].card["imported"]["architecture"] == f"{family}ForCausalLM"
        run_stage(peel_leaves, PeelRecipe(model=model.hash, leaves=["leaf-0"]), tmp_path / "peeled")
        assert list(open_model(tmp_path / "peeled").leaves) == ["leaf-1"]

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"norm_topk_prob": True}, "with norm_topk_prob cannot be imported: baicai does not implement it"),
            ({"num_experts_per_tok": 5, "topk_group": 2}, "top_k 5 must be at most num_experts 4"),
            (
                {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}},
                "partial_rot",
            ),
        ],
    )
    def test_unsupported_networks_are_refused(
        self, changes: dict[str, Any], message: str, tokenizer: Tokenizer, tmp_path: Path
    ) -> None:
        self.theirs(tmp_path / "theirs", tokenizer, "Glm4Moe", **changes)
        with pytest.raises((ArtefactError, ConfigError), match=message):
            import_to(tmp_path / "theirs", tmp_path / "back")
        assert not (tmp_path / "back").exists()

    @torch.no_grad()
    def test_mtp_layers_are_not_imported(self, tokenizer: Tokenizer, tmp_path: Path) -> None:
        network = self.theirs(tmp_path / "theirs", tokenizer, "Glm4Moe")
        extra = {"model.layers.3.eh_proj.weight": torch.ones(32, 64), "model.layers.3.enorm.weight": torch.ones(32)}
        file = tmp_path / "theirs" / SINGLE_FILE
        save_file(load_file(file) | extra, file, {"format": "pt"})
        with pytest.raises(ArtefactError, match=r"unexpected tensor 'model.layers.3.e\w+.weight'"):
            import_to(tmp_path / "theirs", tmp_path / "back")
        config = read_json(tmp_path / "theirs" / "config.json") | {"num_nextn_predict_layers": 1}
        (tmp_path / "theirs" / "config.json").write_text(json.dumps(config))
        model = open_model(import_to(tmp_path / "theirs", tmp_path / "back"))
        tokens_BS = torch.randint(320, (3, 40))
        assert (network(tokens_BS).logits - model.network(tokens_BS)).abs().max() <= 1e-4

    def test_routers_beyond_the_caps_are_refused(self, tokenizer: Tokenizer, tmp_path: Path) -> None:
        self.theirs(tmp_path / "theirs", tokenizer, "Glm4Moe")
        whole = load_file(tmp_path / "theirs" / SINGLE_FILE)
        for name, factor, message in (
            ("model.layers.2.mlp.gate.weight", 1e3, r"mlp: a router row has norm \d+, the limit is 64"),
            ("model.layers.2.mlp.gate.e_score_correction_bias", 3.0, "mlp: a choice bias exceeds 0.1"),
        ):
            save_file(whole | {name: whole[name] * factor}, tmp_path / "theirs" / SINGLE_FILE, {"format": "pt"})
            with pytest.raises(ArtefactError, match=message):
                import_to(tmp_path / "theirs", tmp_path / "back")
        assert not (tmp_path / "back").exists()


def test_a_changed_export_is_imported_as_a_new_artefact(workshop: Workshop, tmp_path: Path) -> None:
    model = open_model(workshop.path("model"))
    run_stage(export_model, ExportRecipe(model=model.hash), tmp_path / "theirs")
    result = load_file(tmp_path / "theirs" / SINGLE_FILE)
    result["model.layers.1.mlp.experts.0.up_proj.weight"][0] += 1
    save_file(result, tmp_path / "theirs" / SINGLE_FILE, {"format": "pt"})
    back = open_model(import_to(tmp_path / "theirs", tmp_path / "back"))
    first, second = model.leaves
    assert back.leaves[first].hash != model.leaves[first].hash
    assert "imported" in back.leaves[first].card
    assert back.leaves[first].card["data"] == model.leaves[first].card["data"], "the card still names the training data"
    assert (back.leaves[second].hash, back.trunk.hash) == (model.leaves[second].hash, model.trunk.hash)
