"""What the machine can do, and Keras' backend."""

import subprocess
import sys

import pytest

from nst_tf import errors, runtime


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
