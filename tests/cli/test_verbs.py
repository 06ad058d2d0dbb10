"""Every verb, run as a user runs it: output, exit code and error messages."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import baicai
from baicai.artefact import read_json, write_json
from baicai.cli import main as module
from baicai.cli.data import VERBS as DATA_VERBS
from baicai.cli.main import ADD_KEY, OTHER_VERBS, STAGES, cli
from baicai.cli.verbs import Verb
from baicai.config import recipe_keys
from baicai.data.document import Message
from baicai.distillation.report.page import distillation_headline, write_report
from baicai.distillation.report.results import DistillationResults
from baicai.inference.generate import SamplingConfig
from baicai.leaves.generation import chat_prompt, stream_text
from baicai.leaves.model import SparseModel, open_model
from tests.cli.conftest import Command, Outcome
from tests.conftest import TRAIN as SHOP_TRAIN
from tests.conftest import Workshop
from tests.distillation.report.test_page import example, minimal

TRAIN = ("train.tokens=512", "train.batch_sequences=4", "train.sequence_tokens=32")
TRUNK = """
[model]
vocab_size = 320
dim = 16
num_layers = 2
ffn_dim = 16
max_tokens = 64

[model.attention]
num_heads = 2
num_kv_heads = 1
head_dim = 8
"""


def test_the_stages_lead_from_text_to_a_report(workshop: Workshop, tmp_path: Path, command: Command) -> None:
    def stage(verb: str, *words: str | Path) -> dict[str, Any]:
        outcome = command(verb, *words, "--out", tmp_path / verb, "--json")
        assert (outcome.code, outcome.err) == (0, "")
        facts: dict[str, Any] = json.loads(outcome.out)
        assert facts["path"] == str(tmp_path / verb)
        return facts

    text = {name: workshop.folder / f"{name}.txt" for name in ("public", "fruit", "metal")}
    data = ", ".join(f"'{path}'" for path in text.values())
    tokenizer = stage("tokenizer", f"data=[{data}]", "vocab_size=320")
    assert (tokenizer["kind"], tokenizer["vocab_size"]) == ("tokenizer", 320)
    (tmp_path / "trunk.toml").write_text(TRUNK)
    trunk = stage("trunk", tmp_path / "trunk.toml", f"tokenizer={tmp_path}/tokenizer", f"data={text['public']}", *TRAIN)
    assert (trunk["kind"], trunk["verified"]) == ("trunk", True)
    leaf = stage("grow", "name=fruit", f"trunk={trunk['hash'][:8]}", f"data={text['fruit']}", *TRAIN)
    assert (leaf["kind"], leaf["name"], leaf["trunk"]) == ("leaf", "fruit", trunk["hash"])
    limits = ("max_harm=100", "max_firing=1")
    model = stage("join", f"trunk={tmp_path}/trunk", f"leaves=['{tmp_path}/grow']", *limits)
    assert (model["kind"], model["leaves"]) == ("model", {"fruit": leaf["hash"]})
    tuned = stage("calibrate", f"model={tmp_path}/join", *TRAIN)
    assert tuned["hash"] != model["hash"]
    bare = stage("peel", f"model={model['hash'][:12]}", "leaves=['fruit']")
    assert bare["leaves"] == {}
    report = stage(
        "evaluate", f"model={tmp_path}/join", f"data={text['fruit']}", "max_tokens=500", "sequence_tokens=32"
    )
    assert report["model"] == model["hash"]
    assert Path(report["report"]).exists()
    again = command("peel", f"model={model['hash'][:12]}", "leaves=['fruit']", "--out", tmp_path / "peel")
    assert (again.code, again.err) == (
        0,
        f"{tmp_path}/peel already exists and was made from this recipe; nothing to do.\n",
    )
    assert f"{'hash':20} {bare['hash']}" in again.out


@pytest.mark.parametrize("kind", ["tokenizer", "trunk", "leaf", "model", "run", "shards"])
def test_inspect_describes_an_artefact(workshop: Workshop, command: Command, kind: str) -> None:
    name = {"leaf": "fruit", "run": "trunk.run", "shards": "trunk/replay"}.get(kind, kind)
    outcome = command("inspect", workshop.path(name))
    assert (outcome.code, outcome.err) == (0, "")
    lines = dict(line.split(None, 1) for line in outcome.out.splitlines())
    assert lines["kind"] == kind
    facts = json.loads(command("inspect", workshop.path(name), "--json").out)
    assert facts["kind"] == kind
    assert facts["path"] == workshop.path(name)
    if kind in ("trunk", "leaf", "model"):
        by_hash = json.loads(command("inspect", facts["hash"][:10], "--json").out)
        assert by_hash | {"path": facts["path"]} == facts, "another copy may be the one that is found"
    if kind == "model":
        assert facts["total_parameters"] > facts["active_parameters"] > 0
        assert {entry["of"] for entry in facts["data"]} == {"trunk", "fruit", "metal"}
        assert "CC0-1.0" in outcome.out
    if kind == "run":
        assert facts["done"] is True
        assert facts["recipe"]["train"]["tokens"] == SHOP_TRAIN.tokens


def test_inspect_shows_an_evaluation_by_folder_or_file(workshop: Workshop, tmp_path: Path, command: Command) -> None:
    words = (f"model={workshop.path('trunk')}", f"data={workshop.folder}/fruit.txt", "max_tokens=64")
    evaluated = command("evaluate", *words, "sequence_tokens=32", "--out", tmp_path / "report")
    assert evaluated.code == 0
    assert "| fruit |" in evaluated.out
    for name in ("report", "report/results.json", "report/report.html"):
        outcome = command("inspect", tmp_path / name)
        assert (outcome.code, outcome.out) == (0, evaluated.out)
    assert "bits_per_byte" in json.loads(command("inspect", tmp_path / "report", "--json").out)


def test_inspect_shows_a_distillation_by_folder_or_file(tmp_path: Path, command: Command) -> None:
    write_report(DistillationResults.parse(example()), tmp_path / "report")
    for name in ("report", "report/results.json", "report/report.html"):
        lines = dict(line.split(None, 1) for line in command("inspect", tmp_path / name).out.splitlines())
        assert lines["kind"] == "distillation"
        assert lines["result"] == distillation_headline(DistillationResults.parse(example()))
        assert lines["report"] == f"{tmp_path}/report/report.html"
        assert lines["dropped"] == "poetry-en"
        assert lines["quality"].startswith("law-de (teacher 1.2, baseline 1.8, start 3, student 1.5, ")
    facts = json.loads(command("inspect", tmp_path / "report", "--json").out)
    assert facts["quality"] == example()["quality"]
    write_report(DistillationResults.parse(minimal()), tmp_path / "report")
    lines = dict(line.split(None, 1) for line in command("inspect", tmp_path / "report").out.splitlines())
    assert (lines["dropped"], lines["quality"]) == ("none", "law-de (teacher 1.2, start 3, student 1.5)")
    (tmp_path / "report" / "results.json").write_text('{"teacher": 1}')
    assert "is missing: measure the model again" in command("inspect", tmp_path / "report").err


def test_inspect_links_a_run_to_its_report(tmp_path: Path, command: Command) -> None:
    write_json(tmp_path / "a.run" / "recipe.json", {"stage": "distill", "recipe": {}})
    assert "report" not in command("inspect", tmp_path / "a.run").out
    write_report(DistillationResults.parse(example()), tmp_path / "a.run" / "report")
    assert f"{'report':20} {tmp_path}/a.run/report/report.html" in command("inspect", tmp_path / "a.run").out


def test_inspect_does_not_trust_the_card(
    workshop: Workshop, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(workshop.path("fruit"), tmp_path / "leaf")
    card = read_json(tmp_path / "leaf" / "leaf.json") | {"verified": True, "path": "/elsewhere", "kind": "leaf"}
    (tmp_path / "leaf" / "leaf.json").write_text(json.dumps(card))
    monkeypatch.setenv("BAICAI_HOME", str(tmp_path / "other-home"))
    facts = json.loads(command("inspect", tmp_path / "leaf", "--json").out)
    assert facts["verified"] is False
    assert f"no artefact with hash {facts['trunk']} is known" in facts["note"]
    assert facts["path"] == str(tmp_path / "leaf")
    monkeypatch.undo()


def test_inspect_notices_that_an_artefact_was_replaced(workshop: Workshop, command: Command) -> None:
    from baicai.artefact import register_artefact

    register_artefact("e" * 64, Path(workshop.path("fruit")))
    outcome = command("inspect", "e" * 8)
    assert outcome.code == 2
    assert "fruit now has the hash " in outcome.err
    assert ", not eeeeeeee: give the artefact's path" in outcome.err


def test_generate_continues_text_and_answers_questions(workshop: Workshop, command: Command) -> None:
    words = ("generate", f"model={workshop.path('model')}", "prompt=apple pear", "sampling.max_tokens=8")
    facts = json.loads(command(*words, "sampling.temperature=0", "chat=false", "--json").out)
    assert facts["text"] == "".join(piece["text"] for piece in facts["pieces"])
    assert {piece["leaf"] for piece in facts["pieces"]} <= {"fruit", "metal", None}
    outcome = command(*words, "sampling.temperature=0", "chat=false")
    assert outcome == (0, facts["text"] + "\n", "")
    chat = json.loads(command(*words, "sampling.temperature=0", "system_prompt=Speak of fruit.", "--json").out)
    assert chat["pieces"] != facts["pieces"]
    off = json.loads(command(*words, "leaves=[]", "chat=false", "--json").out)
    assert {piece["leaf"] for piece in off["pieces"]} == {None}
    assert command(*words[:2], "prompt=2024", "sampling.max_tokens=1").code == 0, "a prompt may look like a number"


def test_doctor_describes_the_machine(command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    outcome = command("doctor")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines()[-1].startswith("ready")
    facts = json.loads(command("doctor", "--json").out)
    assert facts["baicai"] == baicai.__version__
    assert facts["cores"] >= 1
    assert facts["packages"]["torch"]
    monkeypatch.setenv("BAICAI_HOME", str(tmp_path / "not" / "yet"))
    assert json.loads(command("doctor", "--json").out)["home"] == str(tmp_path / "not" / "yet")


@pytest.mark.parametrize("verb", ["", *sorted(cli.commands)])
def test_every_verb_has_help(command: Command, verb: str) -> None:
    words = [verb] if verb else []
    outcome = command(*words, "--help")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith(f"Usage: baicai {verb}".rstrip())
    assert command(*words, "-h").out == outcome.out
    if not verb:
        assert all(name in outcome.out for name in cli.commands)
    elif verb in {stage.name for stage in STAGES}:
        assert "--out" in outcome.out
        assert "[RECIPE.toml] [KEY=VALUE]..." in outcome.out
        assert next(stage.help for stage in STAGES if stage.name == verb) in outcome.out


@pytest.mark.parametrize("verb", [*STAGES, *OTHER_VERBS, ADD_KEY, *DATA_VERBS], ids=lambda verb: verb.name)
def test_every_verb_has_its_recipe_and_function(verb: Verb) -> None:
    assert callable(verb.load(verb.function))
    assert verb.first_key in ("", *recipe_keys(verb.load(verb.recipe)))


@pytest.mark.parametrize(
    ("words", "listed"),
    [
        ("serve", "host, port, allowed_hosts"),
        ("keys add", "name, scope"),
        ("grow", "train.learning_rate"),
        ("chat", "model"),
    ],
)
def test_help_lists_the_keys(command: Command, words: str, listed: str) -> None:
    outcome = " ".join(command(*words.split(), "--help").out.split())
    assert "Keys: " in outcome
    assert listed in outcome.partition("Keys: ")[2]


def test_the_version_is_printed(command: Command) -> None:
    assert command("--version").out == f"baicai, version {baicai.__version__}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_printed(command: Command, shell: str) -> None:
    outcome = command("completion", shell)
    assert (outcome.code, outcome.err) == (0, "")
    assert f"_BAICAI_COMPLETE={shell}_complete" in outcome.out


@pytest.mark.parametrize(
    ("words", "cursor", "offered"),
    [
        ("baicai gr", 1, {"grow"}),
        ("baicai grow train.t", 2, {"train.tokens="}),
        ("baicai grow recipe.toml train.log", 3, {"train.log_steps="}),
        ("baicai join ", 2, {"trunk=", "leaves=", "topk_group=", "max_harm=", "max_firing=", "trusted_keys="}),
        ("baicai generate sampling.te", 2, {"sampling.temperature="}),
        ("baicai chat sys", 2, {"system_prompt="}),
        ("baicai trunk model.attention.kv", 2, {"model.attention.kv_lora_rank="}),
    ],
)
def test_completion_offers_verbs_and_keys(
    command: Command, monkeypatch: pytest.MonkeyPatch, words: str, cursor: int, offered: set[str]
) -> None:
    monkeypatch.setenv("_BAICAI_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(cursor))
    outcome = command()
    assert outcome.code == 0
    items = {line.partition(",")[2]: line.partition(",")[0] for line in outcome.out.splitlines()}
    assert {item for item, kind in items.items() if kind == "plain"} == offered
    assert "file" in items.values() or cursor == 1, "the shell offers files where a recipe may be given"


def error_line(outcome: Outcome) -> str:
    """Check that a command failed with one line on stderr, and return the line."""
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1
    return outcome.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["grow", "nam=fruit"], "unknown key 'nam': the nearest is 'name'"),
        (["grow", "name=a", "trunk=b", "data=c", "train.token=5"], "unknown key 'train.token': the nearest is 'train."),
        (["grow", "name=a", "trunk=b"], "key 'data' is missing"),
        (["grow", "name=a", "trunk=b", "data=c", "train.tokens=x"], "key 'train.tokens' = 'x'"),
        (["grow", "name=a", "trunk=b", "data=c", "public_share=1.0"], "key 'public_share' = 1.0"),
        (["grow", "name=../a", "trunk=b", "data=c"], "'../a' cannot name a leaf"),
        (["grow", "nowhere.toml"], "recipe nowhere.toml does not exist: check the path"),
        (["grow", "name=a", "trunk=/nowhere", "data=c"], "/nowhere does not exist: give the path or the hash"),
        (["grow", "name=a", "trunk=deadbeef", "data=c"], "no artefact with hash deadbeef is known"),
        (["grow", "name=a", "trunk=b", "data=c", "train"], "'train' is not key=value"),
        (["join", "trunk=/nowhere", "leaves=[]"], "/nowhere does not exist"),
        (["join", "trunk={shop}/trunk", "leaves=['{shop}/metal', '/nowhere']"], "/nowhere does not exist"),
        (["join", "trunk={shop}/fruit", "leaves=[]"], "config.json is missing"),
        (["join", "trunk={shop}/trunk", "leaves=['{shop}/trunk']"], "leaf.json is missing"),
        (["join", "trunk={shop}/trunk", "leaves=[]", "topk_group=0"], "key 'topk_group' = 0"),
        (["peel", "model={shop}/model", "leaves=['law']"], "unknown leaf 'law': this model has"),
        (["calibrate", "model={shop}/trunk", "train.tokens=10"], "has no leaves"),
        (["evaluate", "model={shop}/model", "data=/nowhere"], "/nowhere does not exist"),
        (["evaluate", "model={shop}/model", "data=generator:nothing"], "nothing"),
        (["tokenizer", "data=/nowhere", "vocab_size=320"], "/nowhere does not exist"),
        (["tokenizer", "data={shop}/fruit.txt", "vocab_size=9"], "vocab_size = 9 is too small"),
    ],
)
def test_an_error_of_a_stage_is_one_line(
    workshop: Workshop,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: Command,
    words: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    filled = [word.replace("{shop}", str(workshop.folder)) for word in words]
    assert message in error_line(command(*filled, "--out", "out"))
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["inspect", "/nowhere"], "/nowhere does not exist"),
        (["inspect", "deadbeef"], "no artefact with hash deadbeef"),
        (["inspect", "{shop}"], "is not an artefact: expected a trunk, leaf"),
        (["inspect", "{shop}/fruit.txt"], "is not an artefact"),
        (["inspect", "x" * 5000], "cannot be read"),
        (["generate", "model={shop}/model"], "key 'prompt' is missing"),
        (["generate", "model=/nowhere", "prompt=a"], "/nowhere does not exist"),
        (["generate", "model={shop}/model", "prompt=a", "sampling.temperature=-1"], "key 'sampling.temperature' = -1"),
        (["generate", "model={shop}/model", "prompt=a", "leaves=['law']"], "unknown leaf 'law'"),
        (["generate", "model={shop}/model", "prompt=" + "apple " * 99], "tokens does not fit"),
        (["generate", "model={shop}/tokenizer", "prompt=a"], "/tokenizer is neither a model, nor its lock file, nor a"),
        (["chat", "model={shop}/model", "leaves=['law']"], "unknown leaf 'law'"),
        (["chat", "modle={shop}/model"], "unknown key 'modle': the nearest is 'model'"),
        (["join", "trunk={shop}/trunk", "leaves=[]", "--out", "{shop}/fruit"], "made|begun|exists"),
        (["join", "trunk={shop}/trunk", "leaves=[]", "--out", "{shop}/fruit.txt"], "fruit.txt already exists"),
        (["join", "trunk={shop}/trunk", "leaves=[]", "--out", "{shop}/fruit.txt/x"], "choose another --out"),
        (["join", "trunk={shop}/trunk", "leaves=[]", "--out", ""], "already exists"),
    ],
)
def test_an_error_of_another_verb_is_one_line(
    workshop: Workshop, command: Command, words: list[str], message: str
) -> None:
    line = error_line(command(*(word.replace("{shop}", str(workshop.folder)) for word in words)))
    assert any(part in line for part in message.split("|"))


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["nonsense"],
        ["--nonsense"],
        ["grow"],
        ["grow", "--out"],
        ["grow", "name=a"],
        ["join", "--out", "a", "--nonsense"],
        ["inspect"],
        ["inspect", "a", "b"],
        ["doctor", "extra"],
        ["completion"],
        ["completion", "powershell"],
        ["quickstart", "extra"],
    ],
)
def test_an_invalid_command_line_shows_the_usage(command: Command, words: list[str]) -> None:
    outcome = command(*words)
    assert outcome.code == 2
    assert outcome.out == ""
    assert "Usage: baicai" in outcome.err or outcome.err == "Error: Option '--out' requires an argument.\n"
    assert "Traceback" not in outcome.err


def test_the_installed_program_exits_with_two_and_one_line(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "baicai", "tokenizer", "vocab_siz=3", "--out", str(tmp_path / "out")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: command line: unknown key 'vocab_siz': the nearest is 'vocab_size'\n"


def test_an_interrupt_tells_how_to_resume(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module.main, "__defaults__", (interrupted,))
    assert command("grow") == (130, "", "stopped: run the same command again to resume\n")


class TestChat:
    """The conversation, driven line by line."""

    @pytest.fixture
    def talk(self, workshop: Workshop, command: Command) -> Callable[..., list[str]]:
        """Type some lines and return the output after the greeting."""

        def notify(*lines: str, words: tuple[str, ...] = ()) -> list[str]:
            fixed = ("sampling.max_tokens=4", "sampling.temperature=0")
            stdin = "".join(f"{line}\n" for line in lines)
            outcome = command("chat", f"model={workshop.path('model')}", *fixed, *words, stdin=stdin)
            assert (outcome.code, outcome.err) == (0, "")
            greeting, *rest = outcome.out.splitlines()
            assert greeting == "2 leaves; type /help for commands."
            return rest

        return notify

    def test_it_answers_until_quit(self, talk: Callable[..., list[str]]) -> None:
        lines = talk("apple pear")
        assert len(lines) == 3
        assert sorted(lines[:2]) == ["● fruit", "● metal"]
        assert talk("apple pear", "/quit", "plum") == talk("apple pear", "", "/exit", "plum") == lines

    def test_leaves_can_be_turned_off_and_on(self, talk: Callable[..., list[str]]) -> None:
        lines = talk("/leaves fruit off", "/leaves", "/leaves fruit on")
        assert [sorted(lines[2 * i : 2 * i + 2], key=lambda line: line[2:]) for i in range(4)] == [
            ["● fruit", "● metal"],
            ["○ fruit", "● metal"],
            ["○ fruit", "● metal"],
            ["● fruit", "● metal"],
        ]
        assert sorted(talk(words=("leaves=['metal']",)), key=lambda line: line[2:]) == ["○ fruit", "● metal"]

    def test_leaves_that_are_off_have_no_effect(self, workshop: Workshop, talk: Callable[..., list[str]]) -> None:
        questions = ["iron copper zinc nickel", "apple pear plum", "gold", "melon fig"]
        off = [talk("/leaves fruit off", "/leaves metal off", question)[-1] for question in questions]
        assert off != [talk(question)[-1] for question in questions]
        trunk = open_model(workshop.path("trunk"))
        sampling = SamplingConfig(max_tokens=4, temperature=0)
        for question, reply in zip(questions, off, strict=True):
            pieces = stream_text(trunk, chat_prompt(trunk, [Message("user", question)]), sampling)
            assert reply == "".join(piece.text for piece in pieces)

    @pytest.mark.parametrize("setting", ["max_tokens=1", "max_tokens=01"])
    def test_sampling_can_be_changed(self, talk: Callable[..., list[str]], setting: str) -> None:
        short = talk(f"/set {setting}", "iron copper")[2:]
        assert 0 < len("\n".join(short)) < len("\n".join(talk("iron copper")[2:]))

    @pytest.mark.parametrize("value", ["0", "0.5", ".5", "1", "1e-1"])
    def test_numbers_can_be_written_in_any_form(self, talk: Callable[..., list[str]], value: str) -> None:
        assert len(talk(f"/set temperature={value}")) == 2, "no reply and no error"

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("/set temperature=warm", "error: /set: key 'temperature' = 'warm'"),
            ("/set temperature=-1", "error: /set: key 'temperature' = '-1': Input should be greater"),
            ("/set temprature=0", "error: /set: unknown key 'temprature': the nearest is 'temperature'"),
            ("/set top_p=²", "error: /set: key 'top_p' = '²'"),
            ("/leaves law off", "error: leaf 'law' not found: this model has"),
            ("/leaves fruit", "error: write /leaves NAME on, or /leaves NAME off"),
            ("/leaves fruit maybe", "error: write /leaves NAME on, or /leaves NAME off"),
            ("/set", "/leaves            list the leaves"),
            ("/", "/leaves            list the leaves"),
            ("/help", "/leaves            list the leaves"),
            ("/nonsense", "/leaves            list the leaves"),
            ("apple " * 100, "error: a prompt of "),
        ],
    )
    def test_an_error_is_printed_and_the_chat_continues(
        self, talk: Callable[..., list[str]], line: str, message: str
    ) -> None:
        lines = talk(line, "apple pear")
        assert lines[2].startswith(message)
        assert lines[-1] == talk("apple pear")[-1]

    def test_messages_are_kept_until_reset(
        self, talk: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        prompts: list[list[Message]] = []

        def spy(model: SparseModel, messages: list[Message]) -> list[int]:
            prompts.append(list(messages))
            return chat_prompt(model, messages)

        monkeypatch.setattr("baicai.cli.chat.chat_prompt", spy)
        lines = talk(
            "apple",
            "plum",
            "/reset",
            "iron",
            words=("system_prompt=the", "sampling.temperature=0", "sampling.max_tokens=1"),
        )
        system = Message("system", "the")
        answers = [Message("assistant", line) for line in lines[2:]]
        assert prompts == [
            [system, Message("user", "apple")],
            [system, Message("user", "apple"), answers[0], Message("user", "plum")],
            [system, Message("user", "iron")],
        ]

    def test_a_trunk_alone_can_chat(self, workshop: Workshop, command: Command) -> None:
        outcome = command("chat", f"model={workshop.path('trunk')}", "sampling.max_tokens=2", stdin="the of\n")
        assert outcome.code == 0
        assert outcome.out.startswith("0 leaves")
        assert "this model has no leaves" in outcome.out
