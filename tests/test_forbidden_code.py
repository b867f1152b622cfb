"""What the tree must not hold: unpickling, unsafe YAML, evaluation of text, shells, archives unpacked blindly."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(path for folder in ("medfs", "preprocessing", "benchmarks") for path in (ROOT / folder).rglob("*.py"))
MODULES = {"marshal", "shelve", "dill", "cloudpickle", "joblib", "tarfile", "xml", "lxml"}
CALLS = {"eval", "exec", "__import__", "compile"}
METHODS = {
    *("os.system", "os.popen", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "pickle.load", "pickle.loads"),
    *("torch.hub.load", "shutil.unpack_archive"),
}


def name_of(node: ast.expr) -> str:
    """``a.b.c`` as text; empty for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    return f"{name_of(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else ""


def value_of(call: ast.Call, name: str) -> object:
    return next((getattr(k.value, "value", None) for k in call.keywords if k.arg == name), None)


def faults_of(call: ast.Call) -> Iterator[str]:
    name = name_of(call.func)
    if name in CALLS or name in METHODS:
        yield name
    if name.endswith(".extractall"):
        yield "an archive unpacked without looking"
    if name == "torch.load" and value_of(call, "weights_only") is not True:
        yield "torch.load without weights_only=True"
    if name in ("np.load", "numpy.load") and value_of(call, "allow_pickle") not in (None, False):
        yield "np.load with pickles"
    if name.startswith("subprocess.") and value_of(call, "shell"):
        yield "a shell"
    if name.endswith("Environment") and value_of(call, "autoescape") is not True:
        yield "templates without escaping"


def faults(text: str) -> list[str]:
    found: list[str] = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.partition(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in {*MODULES, "pickle"}:
            found.append(str(node.module))
        elif isinstance(node, ast.Call):
            found += faults_of(node)
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_runs_what_a_file_says(path):
    assert faults(path.read_text()) == []


@pytest.mark.parametrize(
    "text",
    [
        "import pickle; pickle.load(file)",
        "from pickle import loads",
        "import marshal",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "yaml.load(text)",
        "eval(text)",
        "os.system(text)",
        "subprocess.run(text, shell=True)",
        "archive.extractall(folder)",
        "import xml.etree.ElementTree",
        "jinja2.Environment()",
    ],
)
def test_each_of_these_would_be_found(text):
    assert faults(text)
