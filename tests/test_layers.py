"""The shape of the source: imports go down, heavy ones happen late, names and sizes stay readable."""

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "baicai"
FILES = sorted(SOURCE.rglob("*.py"))
LAYERS = (
    {"baicai"},  # __init__.py: the version, and names that are imported when they are first used
    {"errors", "ip_addresses"},
    {"config", "synthesis"},
    {"artefact"},
    {"run"},
    {"model", "data"},
    {"training", "evaluation", "inference"},
    {"leaves", "run_reader"},
    {"convert", "wholesale", "distillation", "serving"},
    {"api"},
    {"cli"},
    {"__main__"},
)
INNER_LAYERS = {
    "inference": ({"cpu"}, {"quantize"}, {"decoder", "batch_decoder"}, {"generate"}),
    "wholesale": (
        {"text_kernels", "jobs", "migrations"},
        {"sources"},
        {"processing"},
        {"release"},
        {"domains", "gather", "pull", "server"},
        {"affected"},
    ),
    "distillation": (
        {"sizing", "measuring"},
        {"config", "teacher"},
        {"student"},
        {"context", "reinforce", "training"},
        {"report"},
        {"distill"},
    ),
    "serving": (
        {"config", "api_keys", "engine", "metrics"},
        {"errors"},
        {"served_model"},
        {"registry"},
        {"openai"},
        {"routes"},
        {"auth"},
        {"app"},
        {"server"},
    ),
}
"""Layers inside the packages that have sub-packages, lowest first."""


def levels(layers: tuple[set[str], ...]) -> dict[str, int]:
    return {name: level for level, names in enumerate(layers) for name in names}


LEVEL = levels(LAYERS)
BANNED = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "handler", "legacy"}
MAX_FILE_LINES, MAX_FUNCTION_LINES = 400, 60
SYNTHESIS = SOURCE / "synthesis"
INSIDE_SYNTHESIS = set(SYNTHESIS.glob("[!_]*.py"))
"""Word lists and templates: their one door is synthesis/__init__.py."""


ROOT = SOURCE.parents[1]
PROSE = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "web" / "src").rglob("*.ts*"))]
MARKERS = re.compile(
    r"\b(so many|told|tells? of|say of|said of|is none|there is not|there is no|whoever|of which|goes? on|beside|lies"
    r"|anew|meanwhile|wanted is|is no(?! longer)|returns? (what|which|how|who|where))\b",
    re.IGNORECASE,
)
"""Wordings that read like a translation."""
VAGUE = {"told", "found", "one", "place", "made", "about"}
"""Not names of variables, the element of a comprehension excepted."""


def area(module: str) -> str:
    """Return the file or folder directly in src/baicai that a module is in."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] != "__init__" else "baicai"


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Yield each module of this package that a file imports, and whether that happens on import."""
    tree = ast.parse(path.read_text())
    late = {id(node) for outer in ast.walk(tree) if isinstance(outer, ast.FunctionDef) for node in ast.walk(outer)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            found = [f"{node.module}.{alias.name}" for alias in node.names]
            found = [name if exists(name) else node.module for name in found]
        else:
            continue
        yield from ((name, id(node) not in late) for name in found if name.split(".")[0] == "baicai")


def exists(module: str) -> bool:
    path = SOURCE.parent / Path(*module.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def documented(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.ClassDef]:
    """Yield the public classes and functions of a file, and the public methods of its public classes."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from (
                    inner
                    for inner in node.body
                    if isinstance(inner, ast.FunctionDef) and not inner.name.startswith("_")
                )


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_imports_go_down_never_sideways_or_up(path: Path) -> None:
    own = area(module_name(path))
    for module, _ in imports(path):
        other = area(module)
        if other != own:
            assert LEVEL[other] < LEVEL[own], f"{path.relative_to(SOURCE)} imports {module}"


@pytest.mark.parametrize("package", INNER_LAYERS)
def test_imports_inside_a_package_go_down_too(package: str) -> None:
    level = levels(INNER_LAYERS[package])
    for path in (SOURCE / package).rglob("*.py"):
        own = path.relative_to(SOURCE / package).parts[0].removesuffix(".py")
        if own == "__init__":
            continue
        assert own in level, f"{package}/{own} needs a layer"
        for module, _ in imports(path):
            parts = module.split(".")
            if len(parts) > 2 and parts[1] == package and parts[2] != own:
                assert level[parts[2]] < level[own], f"{path.relative_to(SOURCE)} imports {module}"


def test_every_part_has_its_layer() -> None:
    parts = {area(module_name(path)) for path in FILES}
    assert parts == set(LEVEL), "a new part needs a layer"


def test_no_file_imports_itself_through_others() -> None:
    graph = {module_name(path): {name for name, at_once in imports(path) if at_once} for path in FILES}
    done: set[str] = set()

    def visit(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, f"a ring of imports: {' -> '.join([*above, module])}"
        if module not in done:
            for other in sorted(graph.get(module, set())):
                visit(other, (*above, module))
            done.add(module)

    for module in sorted(graph):
        visit(module, ())


def test_generators_are_loaded_only_when_one_is_asked_for() -> None:
    assert "baicai.synthesis" not in loaded_by("import baicai.data.readers", packages=True)


def loaded_by(statement: str, packages: bool = False) -> set[str]:
    program = f"import sys\n{statement}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return {name for name in done.stdout.split() if packages or "." not in name}


def test_the_command_line_loads_nothing_heavy_until_a_verb_needs_it() -> None:
    heavy = {"torch", "numpy", "matplotlib", "tokenizers", "safetensors", "datasets", "pyarrow", "rich"}
    assert not heavy & loaded_by("import baicai.cli.main")


def test_gathering_and_publishing_text_does_without_torch() -> None:
    modules = ("gather", "pull", "server", "processing.clean", "release.publish", "release.takedown")
    assert "torch" not in loaded_by("; ".join(f"import baicai.wholesale.{module}" for module in modules))


def test_the_web_server_leaves_weights_to_the_engines() -> None:
    assert not {"torch", "numba"} & loaded_by("import baicai.serving.server")


def test_a_chat_does_not_wait_for_pictures() -> None:
    loaded = loaded_by("import baicai.cli.chat")
    assert "torch" in loaded
    assert not {"matplotlib", "datasets", "pyarrow", "model_signing"} & loaded


@pytest.mark.parametrize("path", [path for path in FILES if path not in INSIDE_SYNTHESIS], ids=module_name)
def test_public_names_are_documented(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree) or not tree.body, f"{path.name} has no docstring"
    for node in documented(tree):
        torchs_own = node.name in ("forward", "backward")
        assert ast.get_docstring(node) or torchs_own, f"{path.name}: {node.name} has no docstring"


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_files_and_functions_can_be_read(path: Path) -> None:
    lines = path.read_text().splitlines()
    if path not in INSIDE_SYNTHESIS:
        assert len(lines) <= MAX_FILE_LINES, f"{path.name} has {len(lines)} lines"
    for node in ast.walk(ast.parse("\n".join(lines))):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno is not None
            length = node.end_lineno - node.lineno + 1
            assert length <= MAX_FUNCTION_LINES, f"{path.name}: {node.name} has {length} lines"


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_names_say_something(path: Path) -> None:
    tree = ast.parse(path.read_text())
    defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    for name in (*path.relative_to(SOURCE).with_suffix("").parts, *defined):
        assert not BANNED & set(name.lower().split("_")), f"{path.name}: {name}"
        assert not name.lower().endswith(("manager", "handler", "helper", "utils")), f"{path.name}: {name}"


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the comments and sentences of a Python file, or the lines of another, with their line numbers."""
    if path.suffix != ".py":
        yield from enumerate(path.read_text().splitlines(), 1)
        return
    for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
        if token.type in (tokenize.COMMENT, tokenize.STRING) and " " in token.string:
            yield from enumerate(token.string.splitlines(), token.start[0])


def vague_names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    kinds = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
    loops = [loop for node in ast.walk(tree) if isinstance(node, kinds) for loop in node.generators]
    elements = {id(name) for loop in loops for name in ast.walk(loop.target)}
    for node in ast.walk(tree):
        if isinstance(node, ast.arg) and node.arg in VAGUE:
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and id(node) not in elements:
            yield from [(node.lineno, node.id)] if node.id in VAGUE else []


def opens_badly(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield docstrings that begin a module with a question word, or an attribute with "Of"."""
    if re.match(r"(What|How|Who|Where)\b", ast.get_docstring(tree) or ""):
        yield 1, "a module docstring that begins with a question word"
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and str(node.value.value).startswith("Of ")
        ):
            yield node.lineno, "a docstring that begins with 'Of'"


@pytest.mark.parametrize("path", PROSE + [path for path in FILES if path not in INSIDE_SYNTHESIS], ids=str)
def test_english_reads_as_written_by_a_native_engineer(path: Path) -> None:
    marked = [(number, match.group()) for number, line in prose(path) for match in MARKERS.finditer(line)]
    if path.suffix == ".py":
        tree = ast.parse(path.read_text())
        marked += [*vague_names(tree), *opens_badly(tree)]
    assert not marked, f"{path.relative_to(ROOT)}: reword {marked}"
