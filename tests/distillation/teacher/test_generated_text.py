"""Generated text reaches a student with another tokenizer, survives kills, and is rejected for another teacher."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from baicai.data.shards import TokenShards, write_shards, write_tokens
from baicai.data.tokenizer import Tokenizer, train_tokenizer
from baicai.distillation.sizing import Shape
from baicai.distillation.teacher import generated_text
from baicai.distillation.teacher.generated_text import GeneratedTextConfig, write_generated_text
from baicai.distillation.teacher.models import Teacher, open_teacher
from baicai.errors import ArtefactError, ConfigError, DataError
from baicai.leaves.model import SparseModel
from tests.convert.checkpoints import byte_level, checkpoint, sentence_piece
from tests.data.texts import document
from tests.distillation.conftest import CPU

CONFIG = GeneratedTextConfig(sequence_tokens=16, prompt_tokens=6)
MakeShards = Callable[..., TokenShards]


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generated_text, "PART_TOKENS", 80)


@pytest.fixture(scope="session")
def student() -> Tokenizer:
    return train_tokenizer({"made": [document(n) for n in range(200, 250)]}, vocab_size=290, sample_bytes=10_000)


class Scripted(Teacher):
    """A teacher that continues every prompt with the same script, and fails after `calls` batches."""

    def __init__(self, tokenizer: Tokenizer, written: list[int], calls: int = 1000) -> None:
        super().__init__("scripted", "5c", CPU, tokenizer, 64)
        self.written, self.calls = written, calls

    @property
    def shape(self) -> Shape:
        raise NotImplementedError

    @property
    def flops_per_token(self) -> int:
        raise NotImplementedError

    def hidden(self, tokens_BS: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def _incremental_model(self, max_tokens: int) -> Callable[[torch.Tensor], torch.Tensor]:
        self.calls -= 1
        if self.calls < 0:
            raise KeyboardInterrupt
        rest = iter(self.written)
        return lambda tokens_BS: torch.full((len(tokens_BS), 1), float(next(rest)))

    def _head(self, hidden_E: torch.Tensor) -> torch.Tensor:
        return 100.0 * (torch.arange(self.vocab_size) == hidden_E)


def texts_of(folder: Path) -> list[str]:
    files = sorted((folder / "texts").iterdir())
    return [json.loads(line)["text"] for file in files for line in file.read_text().splitlines()]


def documents_of(shards: TokenShards, tokenizer: Tokenizer) -> list[str]:
    tokens = shards.read(0, shards.num_tokens)
    rows = np.split(tokens, np.flatnonzero(tokens == tokenizer.end_id))
    return [text for row in rows if (text := tokenizer.decode(row.tolist()))]


def test_student_with_other_tokens_reads_the_same_text(
    teacher: Teacher, student: Tokenizer, make_shards: MakeShards, tmp_path: Path
) -> None:
    shards = make_shards("a", 0, 8)
    generated = write_generated_text(tmp_path / "generated", teacher, shards, student, CONFIG)
    texts = texts_of(tmp_path / "generated")
    assert len(texts) == shards.num_windows(16)
    assert generated.tokenizer_hash == student.hash
    assert documents_of(generated, student) == [text for text in texts if text.strip()]
    assert generated.manifest.licences == {"CC0-1.0": generated.manifest.documents}
    starts = [teacher.tokenizer.decode(shards.window(n, 16)[:6].tolist()) for n in range(len(texts))]
    inside = [(start, text) for start, text in zip(starts, texts, strict=True) if "\ufffd" not in start]
    assert sum(text.startswith(start) for start, text in inside) > 0.9 * len(inside), (
        "all but those whose prompt contains a document's end"
    )
    assert sum(len(text) > len(start) for start, text in inside) > 0.3 * len(inside), (
        "a random model rarely generates valid UTF-8"
    )
    assert not any("\ufffd" in text for text in texts)


def test_document_has_whole_characters_and_ends_where_the_teacher_ends(
    tokenizer: Tokenizer, student: Tokenizer, tmp_path: Path
) -> None:
    ids = {tokenizer.id_to_bytes(token_id): token_id for token_id in range(tokenizer.vocab_size)}
    cabbage = [ids[bytes([byte])] for byte in "菜".encode()]
    leaf, end = tokenizer.encode("leaf"), tokenizer.end_id
    cases = {
        "ends inside a character": ([*leaf, *leaf], [*leaf, *cabbage[:2]], "leafleafleaf"),
        "ends after one": ([*leaf, *leaf], [*leaf, *cabbage], "leafleafleaf菜"),
        "begins inside a character": ([*cabbage[1:], *leaf], leaf, "leafleaf"),
        "the corpus's document ends": ([*cabbage, end, *leaf], leaf, "leafleaf"),
        "the teacher ends": (leaf, [*cabbage, end, *leaf], "leaf菜"),
        "the prompt is the end": ([*leaf, end], cabbage, "菜"),
    }
    for number, (case, (given, written, expected)) in enumerate(cases.items()):
        corpus = np.array([*given, *leaf * 20])
        shards = write_tokens(corpus, tokenizer, tmp_path / f"corpus-{number}", source="made", licence="CC0-1.0")
        sizes = GeneratedTextConfig(sequence_tokens=len(given) + len(written), prompt_tokens=len(given))
        folder = tmp_path / f"generated-{number}"
        write_generated_text(folder, Scripted(tokenizer, written), shards, student, sizes)
        assert texts_of(folder)[0] == expected, case


@pytest.mark.parametrize("style", ["qwen", "llama3", "legacy", "first"])
def test_transformers_teacher_generates_with_its_own_tokens(style: str, student: Tokenizer, tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="makes the teacher")
    folder = tmp_path / "teacher"
    (byte_level if style in ("qwen", "llama3") else sentence_piece)(folder, style, None)
    checkpoint(folder, "Llama", eos_token_id=2)
    teacher = open_teacher(folder, None, CPU)
    assert teacher.vocab_size == teacher.tokenizer.vocab_size
    shards = write_shards((document(n) for n in range(4)), teacher.tokenizer, tmp_path / "corpus")
    generated = write_generated_text(tmp_path / "generated", teacher, shards, student, CONFIG)
    assert generated.tokenizer_hash == student.hash
    text = texts_of(tmp_path / "generated")[0]
    assert document(0).text.startswith(text[:4]), "without a leading space or marker"


def test_resumed_equals_uninterrupted(
    tokenizer: Tokenizer, student: Tokenizer, make_shards: MakeShards, tmp_path: Path
) -> None:
    shards, written = make_shards("a", 0, 8), (tokenizer.encode(" leaf") * 10)[:10]
    parts = -(-shards.num_windows(16) // 5)
    whole = write_generated_text(tmp_path / "whole", Scripted(tokenizer, written, parts), shards, student, CONFIG)
    (tmp_path / "generated").mkdir()
    (tmp_path / "generated" / ".manifest.json.0123abcd.part").write_bytes(b"half")
    with pytest.raises(KeyboardInterrupt):
        write_generated_text(tmp_path / "generated", Scripted(tokenizer, written, 3), shards, student, CONFIG)
    texts = tmp_path / "generated" / "texts"
    assert len(list(texts.iterdir())) == 3
    (texts / ".texts-00003.jsonl.0123abcd.part").write_bytes(b"half")
    rest = Scripted(tokenizer, written, parts - 3)
    assert write_generated_text(tmp_path / "generated", rest, shards, student, CONFIG).hash == whole.hash
    assert texts_of(tmp_path / "generated") == texts_of(tmp_path / "whole")


def test_text_depends_on_the_seed(
    teacher: Teacher, student: Tokenizer, make_shards: MakeShards, tmp_path: Path
) -> None:
    shards = make_shards("a", 0, 4)
    hashes = [
        write_generated_text(tmp_path / str(n), teacher, shards, student, dataclasses.replace(CONFIG, seed=seed)).hash
        for n, seed in enumerate((0, 0, 1))
    ]
    assert hashes[0] == hashes[1] != hashes[2]


def test_text_of_another_teacher_is_rejected_and_kept(
    teacher: Teacher, model: SparseModel, student: Tokenizer, make_shards: MakeShards, tmp_path: Path
) -> None:
    shards, folder = make_shards("a", 0, 4), tmp_path / "generated"
    write_generated_text(folder, teacher, shards, student, CONFIG)
    before = texts_of(folder)
    trunk = open_teacher(model.trunk.path, None, CPU)
    for key, arguments in {
        "teacher": (trunk, shards, CONFIG),
        "corpus": (teacher, make_shards("b", 1, 4), CONFIG),
        "temperature": (teacher, shards, dataclasses.replace(CONFIG, temperature=0.5)),
    }.items():
        other_teacher, other_shards, config = arguments
        with pytest.raises(ArtefactError, match=f"was made with {key} .+, expected .+: choose another folder"):
            write_generated_text(folder, other_teacher, other_shards, student, config)
    assert texts_of(folder) == before


def test_invalid_input_is_one_line_and_writes_nothing(
    teacher: Teacher, student: Tokenizer, make_shards: MakeShards, tmp_path: Path
) -> None:
    shards, folder = make_shards("a", 0, 4), tmp_path / "generated"
    with pytest.raises(ConfigError, match="prompt_tokens = 16 leaves nothing of sequence_tokens = 16"):
        GeneratedTextConfig(sequence_tokens=16, prompt_tokens=16)
    with pytest.raises(ConfigError, match="takes at most 64 tokens, but a sequence has 65"):
        write_generated_text(folder, teacher, shards, student, GeneratedTextConfig(sequence_tokens=65))
    with pytest.raises(DataError, match="but a window has 10001: add text"):
        write_generated_text(folder, teacher, shards, student, GeneratedTextConfig(sequence_tokens=10_000))
    assert not folder.exists()
    folder.mkdir()
    (folder / "thesis.txt").write_text("mine")
    with pytest.raises(ArtefactError, match="is not text of a teacher"):
        write_generated_text(folder, teacher, shards, student, CONFIG)
    assert [file.name for file in folder.iterdir()] == ["thesis.txt"]
