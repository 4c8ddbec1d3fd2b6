"""The estimate of memory, and what it refuses."""

import pytest

from nst_tf import config, errors, formulations, memory, scales

DEFAULT, GATYS = formulations.DEFAULT, formulations.GATYS_PYTORCH

# Peak memory of whole runs in GB: (config, precision, longest side, measured).
MEASURED = [
    (DEFAULT, "float32", 512, 1.25),
    (DEFAULT, "float32", 1024, 2.58),
    (DEFAULT, "float32", 1536, 4.88),
    (DEFAULT, "bfloat16", 512, 1.05),
    (DEFAULT, "bfloat16", 1024, 1.91),
    (DEFAULT, "bfloat16", 1536, 3.30),
    (GATYS, "float32", 1024, 7.36),
]


@pytest.mark.parametrize(("chosen", "precision", "size", "measured"), MEASURED)
def test_the_estimate_is_near_what_was_measured(chosen, precision, size, measured):
    scale = scales.Scale(size * 3 // 4, size, 1, 1.0)
    sized = config.override(chosen, {"size": size})
    estimate = memory.estimate(sized, precision, scale, [(576, 768)]) / 1e9
    assert 0.9 * measured < estimate < 1.2 * measured


def test_colours_alone_take_little(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 4e9)
    only = config.override(DEFAULT, {"color": "only", "size": 4000})
    memory.check(only, "float32", (576, 768), [(576, 768)])
    # Measured at 4000 x 3000 and 6000 x 4500 pixels: peaks of 1.68 and 2.07 GB.
    assert 1.68e9 < memory.estimate(only, "float32", scales.Scale(3000, 4000, 0, 1.0), []) < 2.4e9
    assert 2.07e9 < memory.estimate(only, "float32", scales.Scale(4500, 6000, 0, 1.0), []) < 4.2e9
    with pytest.raises(errors.InputError, match="the largest size that fits"):
        memory.check(config.override(only, {"size": 200_000}), "float32", (576, 768), [(576, 768)])


def test_what_fits_is_let_through(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 4e9)
    memory.check(DEFAULT, "float32", (576, 768), [(576, 768)])


@pytest.mark.parametrize("chosen", [DEFAULT, GATYS])
def test_what_does_not_fit_is_refused_with_a_size_that_does(monkeypatch, chosen):
    monkeypatch.setattr(memory, "available", lambda: 4e9)
    large = config.override(chosen, {"size": 6000})
    with pytest.raises(errors.InputError, match=r"need about [\d.]+ GB .* --size=\d+") as caught:
        memory.check(large, "float32", (576, 768), [(576, 768)])
    fits = int(str(caught.value).rpartition("=")[2])
    assert fits > 256
    memory.check(config.override(chosen, {"size": fits}), "float32", (576, 768), [(576, 768)])
    with pytest.raises(errors.InputError):
        memory.check(config.override(chosen, {"size": fits + 8}), "float32", (576, 768), [(576, 768)])


def test_a_containers_limit_counts(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    whole = memory.available()
    assert whole > 0
    (tmp_path / "memory.current").write_text("1000000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available() == pytest.approx(whole, rel=0.2)
    (tmp_path / "memory.max").write_text("3000000\n")
    assert memory.available() == 2000000
