"""Reference engines that an export is checked with: transformers and llama.cpp behind one interface."""

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
"""Maximum mean difference of a logit, in standard deviations, that reduced precision explains."""


class ReferenceEngine(ABC):
    """Another program that runs an exported model."""

    name: str
    """Name, version and precision, for the report."""
    mean_limit: float | None = None
    """Limit of the mean difference; None if the engine computes in float32, so that every logit must agree."""

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Return the ids of a text, without special tokens."""

    @abstractmethod
    def logits(self, tokens_BS: Tensor) -> Tensor:
        """Return the logits [B, S, V] of the next tokens, in float32."""


@contextlib.contextmanager
def open_reference_engine(folder: Path) -> Iterator[ReferenceEngine]:
    """Open the engine that an export is meant for, with the export loaded.

    Raises: ArtefactError if the folder holds no export, MachineError if its engine is not installed.
    """
    if (folder / GGUF_FILE).exists():
        try:
            import llama_cpp
        except ImportError:
            raise MachineError(
                f"checking {folder / GGUF_FILE} needs llama.cpp: pip install llama-cpp-python, then run the same "
                "command again"
            ) from None
        engine = LlamaCppEngine(llama_cpp, folder / GGUF_FILE)
        with contextlib.closing(engine.llama):
            yield engine
    elif (folder / "config.json").exists():
        try:
            import transformers
        except ImportError:
            raise MachineError(
                f"checking {folder} needs transformers: pip install transformers, then run the same command again"
            ) from None
        yield TransformersEngine(transformers, folder)
    else:
        raise ArtefactError(f"{folder} does not hold an export: neither {GGUF_FILE} nor config.json exists")


class TransformersEngine(ReferenceEngine):
    """transformers, in the precision that config.json names."""

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


class LlamaCppEngine(ReferenceEngine):
    """llama.cpp with a float32 cache, so that only the weights' format rounds."""

    def __init__(self, llama_cpp: Any, file: Path) -> None:
        self._quiet = llama_cpp.llama_log_callback(lambda *_: None)  # llama.cpp calls it until the process ends
        llama_cpp.llama_log_set(self._quiet, None)
        float32_type = llama_cpp.GGML_TYPE_F32
        self.llama = llama_cpp.Llama(
            str(file),
            n_ctx=256,
            n_batch=256,
            logits_all=True,
            verbose=False,
            type_k=float32_type,
            type_v=float32_type,
            flash_attn=False,
        )
        file_types = {0: "f32", 1: "f16", 7: "q8_0", 32: "bf16"}
        file_type = file_types[int(self.llama.metadata["general.file_type"])]
        self.name = f"llama.cpp (llama-cpp-python {llama_cpp.__version__}), {file_type}"
        self.mean_limit = MEAN_LIMITS.get(file_type)

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
