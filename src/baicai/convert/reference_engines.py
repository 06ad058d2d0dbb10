"""The engines that an export is checked in, each as one thing: ids of a text, and logits of tokens."""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from baicai.artefact import read_json
from baicai.convert.gguf_file import GGUF_FILE
from baicai.errors import ArtefactError, MachineError

MEAN_LIMITS = {"f16": 0.03, "bf16": 0.05, "q8_0": 0.2}
"""Mean difference of a logit, in standard deviations, that fewer bits for weights and activations explain."""


class Engine(ABC):
    """Another program that runs the model."""

    name: str
    mean_limit: float | None = None
    """None: it computes in 32 bits, so every logit must agree."""

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Return the ids of a text, without special tokens."""

    @abstractmethod
    def logits(self, tokens_BS: Tensor) -> Tensor:
        """Return the logits [B, S, V] of the next tokens, in float32."""


@contextlib.contextmanager
def open_engine(folder: Path) -> Iterator[Engine]:
    """Yield the engine that an export is for, with the export loaded.

    Raises: ArtefactError if the folder holds none, MachineError if its engine is not installed.
    """
    if (folder / GGUF_FILE).exists():
        try:
            import llama_cpp
        except ImportError:
            raise MachineError(
                f"{folder / GGUF_FILE} cannot be checked here, as llama.cpp is not installed: pip install "
                "llama-cpp-python, and run the same command again"
            ) from None
        engine = LlamaCpp(llama_cpp, folder / GGUF_FILE)
        with contextlib.closing(engine.llama):
            yield engine
    elif (folder / "config.json").exists():
        try:
            import transformers
        except ImportError:
            raise MachineError(
                f"{folder} cannot be checked here, as transformers is not installed: pip install transformers, and "
                "run the same command again"
            ) from None
        yield Transformers(transformers, folder)
    else:
        raise ArtefactError(f"{folder} holds no export: neither {GGUF_FILE} nor config.json is there")


class Transformers(Engine):
    """transformers, in the precision that config.json asks for."""

    def __init__(self, transformers: Any, folder: Path) -> None:
        transformers.utils.logging.disable_progress_bar()
        self._tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        dtype = read_json(folder / "config.json").get("dtype", "float32")
        self._network = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
        self.name = f"transformers {transformers.__version__}, {dtype}"
        self.mean_limit = None if dtype == "float32" else MEAN_LIMITS["bf16"]

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text, without special tokens."""
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def logits(self, tokens_BS: Tensor) -> Tensor:
        """Return the logits [B, S, V] of the next tokens, in float32."""
        logits_BSV: Tensor = self._network(tokens_BS).logits.float()
        return logits_BSV


class LlamaCpp(Engine):
    """llama.cpp, its cache in 32 bits, so that only the weights' own format rounds."""

    def __init__(self, llama_cpp: Any, file: Path) -> None:
        self._quiet = llama_cpp.llama_log_callback(lambda *_: None)  # kept: the engine calls it until the end
        llama_cpp.llama_log_set(self._quiet, None)
        wide = llama_cpp.GGML_TYPE_F32
        self.llama = llama_cpp.Llama(
            str(file),
            n_ctx=256,
            n_batch=256,
            logits_all=True,
            verbose=False,
            type_k=wide,
            type_v=wide,
            flash_attn=False,
        )
        kinds = {0: "f32", 1: "f16", 7: "q8_0", 32: "bf16"}
        kind = kinds[int(self.llama.metadata["general.file_type"])]
        self.name = f"llama.cpp (llama-cpp-python {llama_cpp.__version__}), {kind}"
        self.mean_limit = MEAN_LIMITS.get(kind)

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text, without special tokens."""
        ids: list[int] = self.llama.tokenize(text.encode(), add_bos=False, special=False)
        return ids

    def logits(self, tokens_BS: Tensor) -> Tensor:
        """Return the logits [B, S, V] of the next tokens, in float32."""
        rows = []
        for tokens_S in tokens_BS.tolist():
            self.llama.reset()
            self.llama.eval(tokens_S)
            rows.append(torch.from_numpy(self.llama.scores[: len(tokens_S)].copy()))
        return torch.stack(rows)
