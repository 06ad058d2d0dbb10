"""lm-evaluation-harness, `local-completions`: its results match the model in this process."""

import importlib
import json
from typing import Any

import openai
import pytest
import torch

from baicai.data.hf_tokenizer import write_tokenizer
from baicai.inference.generate import SamplingConfig
from baicai.leaves.generation import stream_text
from baicai.leaves.model import SparseModel
from tests.serving.openai.test_completions import logprobs_of

QUESTIONS = [
    {"question": "apple pear plum", "choices": ["cherry quince", "iron zinc", "the"], "answer": 0},
    {"question": "copper zinc", "choices": ["nickel", "nickel cobalt silver", "fig"], "answer": 0},
    {"question": "the of 白菜", "choices": ["and a", "gold", "melon lemon", "白"], "answer": 1},
]
TEXTS = [{"text": "apple pear plum cherry quince grape " * 5}, {"text": "iron"}]
DATA = "dataset_path: json\ndataset_kwargs: {{data_files: {data}, cache_dir: {cache}}}\ntest_split: train\n"
TASKS = {
    "pick": (
        QUESTIONS,
        "output_type: multiple_choice\ndoc_to_text: question\ndoc_to_choice: choices\ndoc_to_target: answer\n"
        "metric_list: [{metric: acc}]\n",
    ),
    "likelihood": (
        TEXTS,
        "output_type: loglikelihood_rolling\ndoc_to_text: ''\ndoc_to_target: text\n"
        "metric_list: [{metric: byte_perplexity}]\n",
    ),
    "say": (
        QUESTIONS,
        "output_type: generate_until\ndoc_to_text: question\ndoc_to_target: '{{choices[answer]}}'\n"
        "generation_kwargs: {until: ['.'], max_gen_toks: 8, temperature: 0}\nmetric_list: [{metric: exact_match}]\n",
    ),
}
LENGTH = 64
"""Context length of the model."""


@pytest.fixture(scope="module")
def samples(
    client: openai.OpenAI, sparse: SparseModel, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[dict[str, Any]]]:
    """Samples that the harness logged for each document, by task."""
    lm_eval = pytest.importorskip("lm_eval", reason="pip install lm-eval")
    tasks = importlib.import_module("lm_eval.tasks")
    folder = tmp_path_factory.mktemp("lm_eval")
    (folder / "tokenizer").mkdir()
    write_tokenizer(folder / "tokenizer", sparse.tokenizer, LENGTH)
    for name, (documents, task) in TASKS.items():
        data = folder / f"{name}.jsonl"
        data.write_text("".join(json.dumps(document) + "\n" for document in documents))
        head = f"task: {name}\n" + DATA.format(data=data, cache=folder / "cache")
        (folder / f"{name}.yaml").write_text(head + task)
    results: dict[str, Any] = lm_eval.simple_evaluate(
        model="local-completions",
        model_args={
            "model": "tiny",
            "base_url": f"{client.base_url}completions",
            "tokenizer_backend": "huggingface",
            "tokenizer": str(folder / "tokenizer"),
            "max_length": LENGTH,
            "num_concurrent": 2,
            "max_retries": 1,
        },
        tasks=list(TASKS),
        task_manager=tasks.TaskManager(include_path=str(folder), include_defaults=False),
        batch_size=4,
        log_samples=True,
        bootstrap_iters=0,
    )
    samples_by_task: dict[str, list[dict[str, Any]]] = results["samples"]
    return samples_by_task


def test_multiple_choice_loglikelihoods_match_the_local_model(
    samples: dict[str, list[dict[str, Any]]], sparse: SparseModel
) -> None:
    greedy_flags = []
    for sample in samples["pick"]:
        for (context, continuation), ((likelihood, greedy),) in zip(sample["arguments"], sample["resps"], strict=True):
            ids = sparse.tokenizer.encode(context + continuation)
            begin = len(sparse.tokenizer.encode(context)) - 1
            assert likelihood == pytest.approx(sum(logprobs_of(sparse, ids)[begin:]), abs=1e-4)
            with torch.no_grad():
                best = sparse.network(torch.tensor([ids]))[0].argmax(-1).tolist()
            assert greedy == (best[begin:-1] == ids[begin + 1 :])
            greedy_flags.append(greedy)
    assert len(greedy_flags) == sum(len(question["choices"]) for question in QUESTIONS)
    assert set(greedy_flags) == {True, False}


def test_rolling_loglikelihoods_match_the_local_model(
    samples: dict[str, list[dict[str, Any]]], sparse: SparseModel
) -> None:
    cut = importlib.import_module("lm_eval.utils")
    for sample in samples["likelihood"]:
        ids, room = (
            sparse.tokenizer.encode(sample["doc"]["text"]),
            LENGTH - 2,
        )  # one token for the context, one for the continuation
        windows = cut.get_rolling_token_windows(ids, sparse.tokenizer.end_id, room, context_len=1)
        expected = 0.0
        for context, continuation in map(cut.make_disjoint_window, windows):
            expected += sum(logprobs_of(sparse, [*context, *continuation])[len(context) - 1 :])
        assert sample["resps"][0][0] == pytest.approx(expected, abs=1e-4)


def test_generated_text_matches_the_local_model(samples: dict[str, list[dict[str, Any]]], sparse: SparseModel) -> None:
    for sample in samples["say"]:
        sampling = SamplingConfig(temperature=0, max_tokens=8, stop=(".",))
        ids = sparse.tokenizer.encode(sample["doc"]["question"])
        assert sample["resps"] == [["".join(piece.text for piece in stream_text(sparse, ids, sampling))]]
