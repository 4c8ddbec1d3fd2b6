"""What imports load, and how long functions are; `lint-imports` checks who imports whom."""

import ast
import pathlib
import subprocess
import sys

import pytest

from tests import conftest

PACKAGE = conftest.ROOT / "nst_tf"


def _modules(*folders: str) -> list[str]:
    """Returns the dotted names of the modules in folders of the package."""
    paths = [path for folder in folders for path in sorted((PACKAGE / folder).glob("*.py"))]
    names = [".".join(path.relative_to(conftest.ROOT).with_suffix("").parts) for path in paths]
    return [name.removesuffix(".__init__") for name in names]


TENSORFLOW = {"tensorflow", "keras"}
HEAVY = {*TENSORFLOW, "numpy", "PIL", "h5py", "tqdm"}

# {modules that are promised to be light: the libraries that importing them does not load}. A command checks
# flags before it loads HEAVY, and files before it loads TENSORFLOW.
LIGHT = {
    **dict.fromkeys(["nst_tf", "nst_tf.errors", "nst_tf.io.samples", *_modules("config", "commands")], HEAVY),
    **dict.fromkeys(["nst_tf.engine.progress", "nst_tf.losses.values"], HEAVY),
    **dict.fromkeys(["nst_tf.client", "nst_tf.sweep", *_modules("io", "callbacks", "video")], TENSORFLOW),
    **{each: {*TENSORFLOW, "ray", "fsspec"} for each in _modules("batch")},
    "nst_tf.runtime": HEAVY,
    "nst_tf.page.limits": HEAVY,
    **dict.fromkeys([f"nst_tf.page.{name}" for name in ("backends", "server", "session")], TENSORFLOW),
}


@pytest.mark.parametrize("module", LIGHT)
def test_light_modules_load_no_heavy_library(module):
    code = f"import sys, {module}; print(*sys.modules)"
    finished = subprocess.run(
        [sys.executable, "-c", code], cwd=conftest.ROOT, capture_output=True, text=True, check=True
    )
    assert not LIGHT[module] & set(finished.stdout.split())


def _functions(path: pathlib.Path) -> list[ast.FunctionDef]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


def test_functions_stay_small():
    for path in [*PACKAGE.rglob("*.py"), *(conftest.ROOT / "tools").rglob("*.py")]:
        for node in _functions(path):
            start = node.body[min(1, len(node.body) - 1)] if ast.get_docstring(node) else node.body[0]
            lines = (node.end_lineno or 0) - start.lineno + 1
            assert lines <= 60, f"{path.name}: {node.name} is {lines} lines"
