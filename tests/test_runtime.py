"""What the machine can do, and Keras' backend."""

import configparser
import importlib.metadata
import os
import re
import subprocess
import sys
from unittest import mock

import pytest

from nst_tf import errors, runtime
from tests import conftest

# Writes to 64 MB of new memory, again and again; prints the page faults of all but the first time.
ALLOCATE = """
import resource, sys, numpy
from nst_tf import runtime
kept = "keep" in sys.argv and runtime.keep_freed_memory()
if "give back" in sys.argv:
    runtime.give_back_freed_memory()
numpy.ones(2**23)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    numpy.ones(2**23)
print(int(kept), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_memory_that_is_kept_is_not_handed_out_anew():
    found = {}
    for choices in (("keep",), (), ("keep", "give back")):
        finished = subprocess.run(
            [sys.executable, "-c", ALLOCATE, *choices],
            capture_output=True,
            text=True,
            check=True,
            cwd=conftest.ROOT,
        )
        kept, found[choices] = map(int, finished.stdout.split())
        if choices and not kept:
            pytest.skip("the C library is not glibc")
    assert found["keep",] < 0.1 * found[()]
    assert found["keep", "give back"] > 0.9 * found[()]


def test_gpu_memory_is_taken_as_needed_unless_a_person_says_otherwise(monkeypatch):
    name = "TF_FORCE_GPU_ALLOW_GROWTH"
    monkeypatch.setenv(name, "false")
    runtime.take_gpu_memory_as_needed()
    assert os.environ[name] == "false"
    monkeypatch.delenv(name)
    runtime.take_gpu_memory_as_needed()
    assert os.environ[name] == "true"


def test_onednn_is_asked_for_where_it_pays_and_tensorflow_can_still_be_told(monkeypatch):
    name = "TF_ENABLE_ONEDNN_OPTS"
    monkeypatch.setenv(name, "0")
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    monkeypatch.setattr(runtime, "_processor_flags", lambda: frozenset({"avx2"}))
    runtime.use_onednn()
    assert os.environ[name] == "0"  # as a person has set it
    assert not runtime.uses_onednn()
    monkeypatch.delenv(name)
    assert not runtime.uses_onednn()
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    runtime.use_onednn()
    assert name not in os.environ  # too late
    monkeypatch.delitem(sys.modules, "tensorflow")
    runtime.use_onednn()
    assert runtime.uses_onednn()
    monkeypatch.delenv(name)
    monkeypatch.setattr(runtime, "_processor_flags", lambda: frozenset({"sse4_1"}))
    runtime.use_onednn()
    assert name not in os.environ
    monkeypatch.setattr(runtime, "_processor_flags", lambda: frozenset({"avx512_vnni"}))
    assert runtime.uses_onednn()  # unasked


def test_an_explicit_precision_is_kept():
    assert runtime.resolve_precision("float32") == "float32"
    assert runtime.resolve_precision("bfloat16") == "bfloat16"


@pytest.mark.parametrize(
    ("flags", "gpus", "expected"),
    [
        ({"avx2"}, [], "float32"),
        ({"avx2", "avx512_bf16"}, [], "bfloat16"),
        ({"amx_bf16"}, [], "bfloat16"),
        ({"avx512_bf16"}, [(7, 5)], "float32"),
        (set(), [(8, 0)], "bfloat16"),
        (set(), [(9, 0), (7, 0)], "float32"),
    ],
)
def test_auto_follows_its_rule(monkeypatch, flags, gpus, expected):
    monkeypatch.setattr(runtime, "_processor_flags", lambda: frozenset(flags))
    monkeypatch.setattr(runtime, "_gpu_compute_capabilities", lambda: gpus)
    assert runtime.resolve_precision("auto") == expected


def test_processor_flags_are_read(tmp_path):
    (tmp_path / "cpuinfo").write_text("processor : 0\nflags\t\t: fpu avx2 avx512_bf16\n\nprocessor : 1\n")
    assert runtime._processor_flags(str(tmp_path / "cpuinfo")) == {"fpu", "avx2", "avx512_bf16"}
    assert runtime._processor_flags(str(tmp_path / "missing")) == frozenset()


def test_another_backend_gets_one_clear_line(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    with pytest.raises(errors.InputError, match="'jax'; nst_tf runs on 'tensorflow' only"):
        runtime.use_tensorflow_backend()


@pytest.mark.slow
def test_a_backend_in_keras_json_is_overridden(tmp_path):
    (tmp_path / "keras.json").write_text('{"backend": "jax", "image_data_format": "channels_first"}')
    code = "import nst_tf; nst_tf.stylize; import keras; print(keras.backend.backend())"
    finished = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={"KERAS_HOME": str(tmp_path), "PATH": "", "PYTHONPATH": ":".join(sys.path)},
    )
    assert finished.stdout.split() == ["tensorflow"], finished.stderr


def test_an_extra_is_installed_from_where_the_package_is(monkeypatch, tmp_path):
    assert runtime.install("plot") == f"pip install '.[plot]' in {conftest.ROOT}"
    monkeypatch.setattr(runtime, "__file__", str(tmp_path / "nst_tf" / "runtime.py"))  # as from a wheel
    for record, expected in (
        ('{"url": "file:///x/nst_tf.whl", "archive_info": {}}', "nst_tf[plot] @ file:///x/nst_tf.whl"),
        ('{"url": "https://x/y", "vcs_info": {"vcs": "git"}}', "nst_tf[plot] @ git+https://x/y"),
        (None, "nst_tf[plot]"),
    ):
        found = mock.Mock(read_text=lambda _, record=record: record)
        monkeypatch.setattr(importlib.metadata, "distribution", lambda _, found=found: found)
        assert runtime.install("plot") == f"pip install '{expected}'"


def test_every_extra_that_a_message_names_is_one():
    setup = configparser.ConfigParser()
    setup.read(conftest.ROOT / "setup.cfg")
    named = set()
    for path in (conftest.ROOT / "nst_tf").rglob("*.py"):
        named |= set(re.findall(r"runtime\.install\(['\"](\w+)['\"]\)", path.read_text()))
        assert "pip install '" not in path.read_text() or path.name == "runtime.py"
    assert named == {"batch", "page", "plot", "serving", "tensorboard", "video"}
    assert named <= set(setup["options.extras_require"])


def test_the_backend_is_named_to_keras_alone(monkeypatch):
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    with runtime.tensorflow_backend():
        assert os.environ["KERAS_BACKEND"] == "tensorflow"
    assert "KERAS_BACKEND" not in os.environ
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    with runtime.tensorflow_backend():
        pass
    assert os.environ["KERAS_BACKEND"] == "tensorflow"
