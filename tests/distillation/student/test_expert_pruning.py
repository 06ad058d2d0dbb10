"""Expert pruning by importance, and pruned leaves as regular artefacts."""

from pathlib import Path

import httpx
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from baicai.convert.exporter import ExportRecipe, export_model
from baicai.distillation.student.expert_pruning import prune_leaves, save_pruned_leaf
from baicai.distillation.student.importance import measure_expert_importance
from baicai.errors import ConfigError, DataError
from baicai.leaves.join import JoinRecipe, join_leaves
from baicai.leaves.model import SparseModel, open_model
from baicai.model.experts import Leaf
from baicai.run import run_stage
from baicai.serving.config import ServeRecipe
from baicai.serving.engine.describe_model import describe_model
from baicai.serving.served_model import ServedModel
from tests.conftest import Workshop
from tests.distillation.conftest import Sample
from tests.serving.servers import ThreadEngine, serving


def swap(sparse: SparseModel, leaves: dict[str, Leaf]) -> None:
    """Replace the leaves by pruned ones, in the same order."""
    for name in list(sparse.network.leaves):
        sparse.network.peel(name)
    for name, leaf in leaves.items():
        sparse.network.join(name, leaf)


@torch.no_grad()
def test_removing_experts_that_never_fire_changes_no_bit(sparse: SparseModel, sample: Sample) -> None:
    """Each router row reads one feature, so its products are exact in any order of summation."""
    windows = sample("fruit", "metal")
    for index, leaf in enumerate(sparse.leaves.values()):
        for number, layer in enumerate(leaf.experts.layer_list()):
            layer.router_ED.copy_(4 * torch.eye(32)[4 * index : 4 * index + 4])
            layer.bias_E[number] = -9  # another one in each layer
    importance = measure_expert_importance(sparse.network, sparse.leaves, windows)
    assert ((importance.importance_LGE == 0).sum(-1) == 1).all()
    before = [sparse.network(tokens_BS) for tokens_BS in windows]
    leaves = prune_leaves(sparse, list(sparse.leaves), windows, 3)
    swap(sparse, leaves)
    assert all(leaf.layer(1).gate_EFD.shape[0] == 3 for leaf in leaves.values())
    for tokens_BS, logits_BSV in zip(windows, before, strict=True):
        assert torch.equal(sparse.network(tokens_BS), logits_BSV)


@torch.no_grad()
def test_most_important_experts_are_kept_in_each_layer(sparse: SparseModel, sample: Sample) -> None:
    stack = sparse.leaves["fruit"].experts.layer_list()
    for expert, layer in zip((3, 1), stack, strict=True):
        layer.down_EDF[expert] *= 50
    (pruned,) = prune_leaves(sparse, ["fruit"], sample("fruit"), 1).values()
    assert pruned.config.top_k == pruned.config.num_experts == 1
    for expert, layer, original in zip((3, 1), pruned.layer_list(), stack, strict=True):
        for key, tensor in layer.state_dict().items():
            assert torch.equal(tensor, original.state_dict()[key][[expert]]), key


@torch.no_grad()
def test_importance_is_summed_weight_times_norm(sparse: SparseModel, sample: Sample) -> None:
    """Reference: a loop over tokens and their routed experts, in the first leaf layer."""
    windows = sample("fruit")[:1]
    model, leaf = sparse.network, sparse.leaves["fruit"].experts
    importance = measure_expert_importance(model, ["fruit"], windows)
    tokens_BS = windows[0][:, :-1]
    h_TD = model.layers[1].shared_norm(model.lower(tokens_BS)).flatten(0, 1)
    layer = leaf.layer(1)
    weights_TE = (h_TD @ layer.router_ED.T).sigmoid()
    chosen_TK = weights_TE.topk(2).indices
    added_E, weights_E = torch.zeros(4), torch.zeros(4)
    for token in range(len(h_TD)):
        for expert in chosen_TK[token].tolist():
            gate, up, down = (weight[expert].float() for weight in (layer.gate_EFD, layer.up_EFD, layer.down_EDF))
            out_D = down @ (F.silu(gate @ h_TD[token]) * (up @ h_TD[token]))
            added_E[expert] += weights_TE[token, expert] * out_D.norm()
            weights_E[expert] += weights_TE[token, expert] / len(h_TD)
    torch.testing.assert_close(importance.importance_LGE[0, 0].float(), added_E, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(importance.weights_LGE[0, 0].float(), weights_E, rtol=1e-4, atol=1e-5)


def test_error_names_a_leaf_that_never_fires(sparse: SparseModel, sample: Sample) -> None:
    for layer in sparse.leaves["metal"].experts.layer_list():
        layer.bias_E -= 9
    with pytest.raises(DataError, match="leaf 'metal' contributes nothing on the sample text: add text of the domains"):
        prune_leaves(sparse, ["fruit", "metal"], sample("fruit"), 2)
    with pytest.raises(ConfigError, match="unknown leaf 'wood'"):
        prune_leaves(sparse, ["wood"], sample("fruit"), 2)


def test_pruned_leaf_joins_serves_and_exports(
    workshop: Workshop, sparse: SparseModel, sample: Sample, tmp_path: Path
) -> None:
    pytest.importorskip("transformers", reason="pip install 'baicai[dev]' compares logits with transformers")
    from baicai.convert.parity import check_export

    windows = sample("fruit", "metal")
    leaves = prune_leaves(sparse, ["fruit", "metal"], windows, 2)
    paths = [str(tmp_path / name) for name in leaves]
    hashes = {n: save_pruned_leaf(tmp_path / n, n, leaf, sparse, {}) for n, leaf in leaves.items()}
    run_stage(join_leaves, JoinRecipe(trunk=workshop.path("trunk"), leaves=paths), tmp_path / "model")
    student = open_model(tmp_path / "model")
    assert {name: leaf.hash for name, leaf in student.leaves.items()} == hashes
    assert student.leaves["fruit"].card["pruned"] == sparse.leaves["fruit"].hash
    assert student.leaves["fruit"].card["data"] == sparse.leaves["fruit"].card["data"]
    swap(sparse, {name: leaves[name] for name in student.leaves})
    with torch.no_grad():
        assert torch.equal(student.network(windows[0]), sparse.network(windows[0]))
    run_stage(export_model, ExportRecipe(model=str(tmp_path / "model")), tmp_path / "exported")
    parity = check_export(tmp_path / "exported", student, prompts=8)
    assert (parity.problem, parity.equal_prompts) == (None, 8)
    engine = ThreadEngine(student)
    try:
        served = ServedModel.from_info("small", engine, describe_model(student))
        with serving(ServeRecipe(model="small"), [served]) as address:
            body = {"model": "small", "prompt": "apple", "max_tokens": 4, "leaves": {"only": ["fruit"]}}
            answer = httpx.post(f"{address}/v1/completions", json=body, timeout=240)
    finally:
        engine.close()
    assert answer.status_code == 200, answer.text
    assert answer.json()["usage"]["completion_tokens"] == 4
