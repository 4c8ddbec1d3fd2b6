"""A step of another Ray Data pipeline, called as Ray calls it."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

import nst_tf
from nst_tf import batch
from nst_tf.io import pictures
from tests import conftest

SETTINGS: dict[str, Any] = {"size": 40, "color": "only", "weights": "builtin"}


@pytest.fixture
def step(monkeypatch):
    """The step, which prepares a process of its own; not this one."""
    monkeypatch.setattr("nst_tf.runtime.prepare_process", lambda: None)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    return batch.Stylize("sample:strokes", content="photograph", output="painted", **SETTINGS)


def test_a_batch_of_all_kinds_of_photographs(step, tmp_path):
    pixels = [np.rint(conftest.smooth_picture(seed, 48, 64) * 255).astype(np.uint8) for seed in (1, 2, 3)]
    file = io.BytesIO()
    Image.fromarray(pixels[1]).save(file, "PNG")
    Image.fromarray(pixels[2]).save(tmp_path / "photo.png")
    column = np.empty(4, dtype=object)
    column[:] = [pixels[0], file.getvalue(), str(tmp_path / "photo.png"), b"none"]
    made = step({"photograph": column, "name": np.array(["a", "b", "c", "d"])})
    assert list(made) == ["photograph", "name", "painted", "painted_failure"]
    for picture, photograph in zip(made["painted"][:3], pixels, strict=True):
        expected = nst_tf.stylize(photograph, "sample:strokes", **SETTINGS)
        np.testing.assert_array_equal(picture, pictures.to_uint8(expected.image))
    assert list(made["painted_failure"][:3]) == [""] * 3
    assert made["painted"][3].shape == (0, 0, 3)
    assert "not a picture in a known format" in made["painted_failure"][3]
