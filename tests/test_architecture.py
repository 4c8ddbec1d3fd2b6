"""The house's arrows: who may import whom, read from the source with `ast`."""

import ast
import pathlib

import pytest

PACKAGE = pathlib.Path(__file__).parents[1] / "nst_tf"

# Each module's allowed imports from this package; an arrow that is not here is a defect. From top to
# bottom: edges, the host side, the algorithm, choices, core, what everything may use.
ALLOWED: dict[str, str] = {
    "__init__": "runtime",
    "__main__": "cli",
    "cli": "api config errors inputs manifest options outputs pictures presets report runtime",
    "options": "changes config errors fields presets",
    "outputs": "animation api errors figures observers pictures snapshots summaries",
    "api": (
        "color config convolutions errors images inputs losses manifest memory objective observers pictures"
        " presets report runtime scales sources stylizer"
    ),
    "export": (
        "config errors images manifest objective painter requested scales signatures stylizer warmup weights"
    ),
    "warmup": "",
    "client": "config errors failures fields inputs pictures transports",
    "inputs": "config errors pictures regions",
    "failures": "errors transports",
    "transports": "",
    "local_server": "errors local_models local_rest",
    "local_rest": "local_models",
    "local_models": "",
    "manifest": "config errors pictures regions",
    "memory": "changes config convolutions errors runtime scales vgg",
    "animation": "errors figures observers pictures scales stylizer video",
    "snapshots": "errors figures pictures scales stylizer",
    "summaries": "errors observers scales stylizer",
    "figures": "errors pictures plots report",
    "plots": "report",
    "video": "errors",
    "observers": "scales stylizer",
    "report": "pictures stylizer",
    "stylizer": (
        "color config convolutions errors images loop losses objective regions runtime scales scene sources"
        " targets variables vgg weights"
    ),
    "scene": "config guides images objective regions scales sources targets",
    "sources": "activation_normalization color config errors images weights",
    "signatures": "changes config encoded guards objective packing painter requested runs scales",
    "runs": "color config losses painter requested",
    "painter": (
        "color config encoded guards images loop losses objective requested scales targets tensor_scales"
    ),
    "loop": "config images iterates losses objective optimizers",
    "requested": "color config guards targets",
    "objective": "blending config guides losses network style_statistics targets vgg weights",
    "targets": "config losses",
    "blending": "style_statistics",
    "network": "convolutions graphs tiling vgg weights",
    "convolutions": "errors prepared runtime winograd",
    "prepared": "runtime",
    "winograd": "graphs runtime",
    "presets": "changes config errors formulations scales",
    "tensor_scales": "config scales",
    "scales": "config errors",
    "formulations": "config",
    "changes": "config errors fields",
    "config": "errors fields",
    "fields": "errors",
    "tiling": "graphs",
    "packing": "guards",
    "encoded": "guards",
    "guards": "",
    "iterates": "optimizers",
    "optimizers": "lbfgs preconditioners",
    "lbfgs": "preconditioners stacks",
    "preconditioners": "graphs",
    "stacks": "graphs",
    "graphs": "",
    "variables": "",
    "guides": "vgg",
    "losses": "",
    "style_statistics": "",
    "color": "errors",
    "activation_normalization": "vgg weights",
    "vgg": "",
    "images": "errors",
    "regions": "errors pictures",
    "pictures": "errors",
    "weights": "errors weight_files",
    "weight_files": "errors",
    "runtime": "errors",
    "errors": "",
}

# Libraries that only these modules may import; elsewhere they would load where they are not needed.
ONLY_IN = {
    "tensorflow": {
        "api",
        "blending",
        "color",
        "encoded",
        "export",
        "graphs",
        "guards",
        "guides",
        "images",
        "iterates",
        "lbfgs",
        "local_models",
        "local_server",
        "loop",
        "network",
        "tiling",
        "losses",
        "objective",
        "optimizers",
        "packing",
        "painter",
        "preconditioners",
        "prepared",
        "requested",
        "runs",
        "runtime",
        "scene",
        "signatures",
        "stacks",
        "sources",
        "style_statistics",
        "stylizer",
        "summaries",
        "targets",
        "tensor_scales",
        "transports",
        "variables",
        "warmup",
        "winograd",
    },
    "keras": {"convolutions", "prepared", "vgg", "weights", "winograd"},
    "PIL": {"animation", "client", "figures", "manifest", "outputs", "pictures", "regions", "warmup"},
    "tensorflow_serving": {"local_models", "local_rest", "local_server", "transports", "warmup"},
    "grpc": {"local_server", "transports"},
    "requests": {"transports"},
    "urllib3": {"transports"},
    "flask": {"local_rest"},
    "waitress": {"local_rest"},
    "matplotlib": {"plots"},
    "imageio_ffmpeg": {"video"},
    "h5py": {"weight_files"},
    "tqdm": {"report"},
    "psutil": {"memory"},
    "absl": {"cli", "options"},
}


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


def _inside(imports: set[str]) -> set[str]:
    """Returns the package's own modules among dotted imports."""
    return {name.split(".")[1] for name in imports if name.startswith("nst_tf.")}


MODULES = sorted(path.stem for path in PACKAGE.glob("*.py"))


def test_every_module_has_its_place():
    assert set(MODULES) == set(ALLOWED)


@pytest.mark.parametrize("module", MODULES)
def test_arrows_point_down(module):
    # `__init__` names all public homes under TYPE_CHECKING; only what it runs counts.
    imports = _imports(PACKAGE / f"{module}.py", lazy_and_typing=module != "__init__")
    assert _inside(imports) <= set(ALLOWED[module].split())


def test_there_are_no_circles():
    order = list(ALLOWED)
    for module, below in ALLOWED.items():
        for other in below.split():
            assert order.index(other) > order.index(module), f"{module} -> {other} points up"


@pytest.mark.parametrize("module", MODULES)
def test_libraries_stay_where_they_belong(module):
    used = {name.split(".")[0] for name in _imports(PACKAGE / f"{module}.py", lazy_and_typing=True)}
    for library, allowed in ONLY_IN.items():
        assert library not in used or module in allowed, f"{module} imports {library}"


@pytest.mark.parametrize(
    "module",
    [
        "__init__",
        "__main__",
        "cli",
        "config",
        "errors",
        "fields",
        "formulations",
        "options",
        "presets",
        "scales",
    ],
)
def test_light_modules_load_no_heavy_library(module):
    imports = _imports(PACKAGE / f"{module}.py", lazy_and_typing=False)
    heavy = {"tensorflow", "keras", "numpy", "PIL", "h5py", "tqdm"}
    assert not heavy & {name.split(".")[0] for name in imports}


def test_functions_and_modules_stay_small():
    for path in PACKAGE.glob("*.py"):
        source = path.read_text(encoding="utf-8")
        assert source.count("\n") <= 300, f"{path.name} is over 300 lines"
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef):
                start = node.body[min(1, len(node.body) - 1)] if ast.get_docstring(node) else node.body[0]
                lines = (node.end_lineno or 0) - start.lineno + 1
                assert lines <= 60, f"{path.name}: {node.name} is {lines} lines"
