"""The points of style that a machine can check, over every module of the package."""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import scanner
from scanner import registry

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "scanner"
ROWS = (
    ("errors", "registry"),
    ("trial", "split", "metrics", "combinations", "events", "atomic", "parquet"),
    ("yaml_text", "schema", "words", "grid", "study", "plan", "cost", "ranking",
     "comparison", "bootstrap", "uncertainty", "doubts", "paper",
     "findings", "teaching", "tables",
     "latex", "references", "histograms",
     "plots", "spectra"),
    ("representations", "layers", "flows", "models", "losses", "scores"),
    ("datasets", "place", "batch", "provenance", "lock", "store", "stopping", "collected"),
    ("upkeep", "channel", "generate", "checkpoint", "members", "running", "replay", "train",
     "packing", "latents", "run", "pilot", "trained"),
    ("search", "pending", "backlog", "cluster", "tuning", "launch", "estimate", "status", "mending",
     "pool", "origins", "rendering", "trial_figures",
     "figures", "pages", "lists", "sections", "report", "score_events", "inspection"),
    ("__init__", "cli", "__main__"),
)
RANK = {name: (row, place) for row, names in enumerate(ROWS) for place, name in enumerate(names)}
ONLY_IN = {"ray": {"cluster", "tuning"}, "optuna": {"search"}, "nflows": {"flows"},
           "jinja2": {"pages"}, "ruamel": {"yaml_text"}, "click": {"cli"}, "rich": {"cli"},
           "pooch": {"datasets"}, "requests": {"datasets"},
           "pythia8mc": {"generate"}, "fastjet": {"generate"}, "awkward": {"generate"}}
LOADERS = {"yaml_text", "schema", "trial", "provenance", "store", "checkpoint", "cluster", "tuning",
           "datasets"}
# cluster writes the token of its Ray, into a scratch folder; estimate the rates of this machine;
# rendering saves figures to memory
WRITERS = {"atomic", "parquet", "store", "checkpoint", "report", "rendering", "score_events",
           "inspection", "datasets", "generate", "lock", "cluster", "estimate"}
WORKERS_EDGE = ("run", "attempt")  # classifies whatever ended a pack, so that the scan hears of it
LONGEST, MEDIAN, NINE_IN_TEN, MODULE_LINES, COMMAND = 70, 12, 35, 300, 10


def name_of(path):
    """Dotted name of a module inside the package; a sub-package by its own name."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


SOURCES = {name_of(path): path.read_text() for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(text) for name, text in SOURCES.items()}
MODULES = sorted(SOURCES)
COMMANDS = [node for node in ast.walk(TREES["cli"]) if isinstance(node, ast.FunctionDef)
            and any(".command" in ast.unparse(mark) for mark in node.decorator_list)]


def top(module):
    """The part of a module's name that has a row: itself, or its sub-package."""
    return module.split(".")[0]


def functions(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


def calls(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


def imported(module):
    """Full name and line of everything that a module imports, inside functions too."""
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}:{node.lineno}: write the full name"
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def own(module):
    """The modules of the package that a module imports, with lines."""
    for full, line in imported(module):
        parts = full.split(".")
        if parts[0] == "scanner":
            inside = [".".join(parts[1:end]) for end in range(len(parts), 1, -1)]
            yield next((name for name in inside if name in SOURCES), "__init__"), line


def violations(found):
    """The message of a failing test: one line each."""
    return "\n" + "\n".join(found)


# 1, 3, 4: a word of the grid leads to its file

REGISTRIES = [name for name in vars(registry) if name.isupper()]


@pytest.mark.parametrize("name", REGISTRIES)
def test_a_word_leads_to_its_file(name):
    """The file has the word's name, the first part of it, or is the family's of several words."""
    targets = {key: entry.target.split(":")[0] for key, entry in getattr(registry, name).items()}
    for key, target in targets.items():
        stem = target.rpartition(".")[2]
        family = list(targets.values()).count(target) > 1
        assert key.startswith(stem) or family, f"{name}[{key!r}] is in {target}"


@pytest.mark.parametrize("name", REGISTRIES)
def test_a_registry_is_one_literal(name):
    (value,) = [node.value for node in TREES["registry"].body if isinstance(node, ast.Assign)
                and [ast.unparse(target) for target in node.targets] == [name]]
    assert isinstance(value, ast.Dict)
    for key, entry in zip(value.keys, value.values, strict=True):
        assert isinstance(ast.literal_eval(key), str)
        assert isinstance(entry, ast.Call)
        assert ast.unparse(entry.func) == "Entry"
        for argument in [*entry.args, *(keyword.value for keyword in entry.keywords)]:
            ast.literal_eval(argument)


@pytest.mark.parametrize("name", REGISTRIES)
def test_the_target_of_a_word_exists(name):
    for key, entry in getattr(registry, name).items():
        module, attribute = entry.target.removeprefix("scanner.").split(":")
        assert module in TREES, f"{name}[{key!r}]: no file {module}"
        names = {getattr(node, "name", None) for node in TREES[module].body}
        names |= {ast.unparse(target) for node in TREES[module].body if isinstance(node, ast.Assign)
                  for target in node.targets}
        assert attribute in names, f"{name}[{key!r}]: no {attribute} in {module}"


# 2: sizes


def test_functions_fit_on_a_screen():
    lengths = {f"{module}.{node.name}": node.end_lineno - node.lineno + 1
               for module, tree in TREES.items() for node in functions(tree)}
    long = [f"{name}: {lines} lines" for name, lines in lengths.items() if lines > LONGEST]
    assert not long, violations(long)
    assert statistics.median(lengths.values()) <= MEDIAN
    assert statistics.quantiles(lengths.values(), n=10)[-1] <= NINE_IN_TEN


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_a_few_screens(module):
    assert SOURCES[module].count("\n") <= MODULE_LINES


# 5: types after the loaders


@pytest.mark.parametrize("module", MODULES)
def test_no_untyped_mappings_after_the_loaders(module):
    if top(module) in LOADERS:
        return
    found = [f"{module}:{node.lineno}: {ast.unparse(node)}" for node in ast.walk(TREES[module])
             if isinstance(node, ast.Subscript)
             and re.fullmatch(r"(dict|Dict|Mapping|MutableMapping)\[str, Any\]", ast.unparse(node))]
    assert not found, violations(found)


# 9: files are written by the stores alone


def writes(call):
    name = ast.unparse(call.func).rpartition(".")[2]
    if name == "open":
        words = [*call.args, *(k.value for k in call.keywords if k.arg == "mode")]
        return any(isinstance(w, ast.Constant) and re.fullmatch(r"[rbt]*[wax+][bt+]*", str(w.value))
                   for w in words)
    if name in ("to_csv", "to_html", "to_latex", "to_markdown", "to_parquet"):  # of a DataFrame
        owner = ast.unparse(call.func).rpartition(".")[0]
        return owner not in ("", "tables") and bool(call.args)
    return name in ("write_text", "write_bytes", "savefig", "write_table") or (
        ast.unparse(call.func) in ("torch.save", "np.save", "np.savez"))


@pytest.mark.parametrize("module", MODULES)
def test_only_the_edges_write_files(module):
    found = [f"{module}:{call.lineno}: {ast.unparse(call.func)}" for call in calls(TREES[module])
             if top(module) not in WRITERS and writes(call)]
    assert not found, violations(found)


# 8: errors are caught by their name; only the command line speaks


@pytest.mark.parametrize("module", MODULES)
def test_no_broad_except(module):
    edge = [node for function in functions(TREES[module]) for node in ast.walk(function)
            if (module, function.name) == WORKERS_EDGE]
    found = [f"{module}:{node.lineno}" for node in ast.walk(TREES[module])
             if isinstance(node, ast.ExceptHandler) and node not in edge and (
                 node.type is None or re.search(r"\b(Base)?Exception\b", ast.unparse(node.type)))]
    assert not found, violations(found)


@pytest.mark.parametrize("module", [name for name in MODULES if name != "cli"])
def test_only_the_command_line_prints_and_exits(module):
    words = ("print", "exit", "sys.exit", "click.echo", "os._exit", "sys.stdout.write")
    found = [f"{module}:{call.lineno}: {ast.unparse(call.func)}" for call in calls(TREES[module])
             if ast.unparse(call.func) in words]
    assert not found, violations(found)


# 10, 11: the command line is thin, and every command is a Python call


@pytest.mark.parametrize("command", COMMANDS, ids=lambda node: node.name)
def test_a_command_is_thin(command):
    inside = [node for node in ast.walk(command) if isinstance(node, ast.stmt)]
    assert len(inside) - 2 <= COMMAND  # but for itself and its docstring
    assert ast.get_docstring(command)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda node: node.name)
def test_a_command_has_a_twin_in_python(command):
    called = {ast.unparse(call.func) for call in calls(command)}
    twins = [name for name in scanner.__all__ if f"scanner.{name}" in called]
    assert twins, f"{command.name} calls nothing of scanner.__all__"
    if any(ast.unparse(mark).startswith("cli.command") for mark in command.decorator_list):
        assert command.name.rstrip("_") in twins


def test_the_python_calls_exist():
    assert all(hasattr(scanner, name) for name in scanner.__all__)


# 15: layers


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_up(module):
    """A module imports from rows above, from the left in its row, and from its sub-package."""
    assert top(module) in RANK, f"give {top(module)} a place in ROWS"
    found = [f"{module}:{line}: {target}" for target, line in own(module)
             if top(target) != top(module) and RANK[top(target)] >= RANK[top(module)]]
    assert not found, violations(found)


def test_imports_have_no_cycles():
    graph = {module: {target for target, _ in own(module)} for module in MODULES}
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_has_one_place(library):
    found = [f"{module}:{line}" for module in MODULES for full, line in imported(module)
             if full.split(".")[0] == library and top(module) not in ONLY_IN[library]]
    assert not found, violations(found)


def test_the_command_line_starts_light_and_silent():
    heavy = ("torch", "ray", "matplotlib", "nflows", "torch_geometric", "optuna", "sklearn")
    code = f"import sys, scanner.cli; print([m for m in {heavy} if m in sys.modules])"
    command = [sys.executable, "-W", "error", "-c", code]
    out = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (out.stdout.strip(), out.stderr.strip()) == ("[]", "")


def test_a_pin_has_its_reason():
    lines = (ROOT / "pyproject.toml").read_text().split("\n")
    pin = r'"[a-z][\w.\[\]-]*[^"#]*(<|==|~=)[^"]*"'
    pins = [line for line in lines if re.search(pin, line)]
    assert pins
    bare = [line.strip() for line in pins if not re.search(r"\s# \w", line)]
    assert not bare, violations(bare)
