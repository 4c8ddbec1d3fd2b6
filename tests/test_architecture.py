"""What imports load, and how long functions are; `lint-imports` checks who imports whom."""

import ast
import pathlib

import pytest

PACKAGE = pathlib.Path(__file__).parents[1] / "nst_tf"


def _imports(path: pathlib.Path, *, lazy_and_typing: bool) -> set[str]:
    """Returns the modules that a file imports, dotted, with or without those inside functions."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = ast.walk(tree) if lazy_and_typing else iter(tree.body)
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


# Modules whose import loads none of HEAVY: the command checks flags and files before it loads these.
LIGHT_FILES = [
    PACKAGE / f"{name}.py"
    for name in ("__init__", "__main__", "commands/stylize", "commands/run_flags", "errors", "io/samples")
]
LIGHT_FILES += sorted((PACKAGE / "config").glob("*.py"))
HEAVY = {"tensorflow", "keras", "numpy", "PIL", "h5py", "tqdm"}


@pytest.mark.parametrize("path", LIGHT_FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_light_modules_load_no_heavy_library(path):
    imports = _imports(path, lazy_and_typing=False)
    assert not HEAVY & {name.split(".")[0] for name in imports}


def test_functions_stay_small():
    for path in PACKAGE.rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef):
                start = node.body[min(1, len(node.body) - 1)] if ast.get_docstring(node) else node.body[0]
                lines = (node.end_lineno or 0) - start.lineno + 1
                assert lines <= 60, f"{path.name}: {node.name} is {lines} lines"
