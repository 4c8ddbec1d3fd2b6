"""What a wheel contains."""

import subprocess
import sys
import zipfile

import pytest
from setuptools import find_packages

from tests import conftest

PACKAGE = conftest.ROOT / "nst_tf"


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """The names of the files in a wheel, which is built from a copy of what git would check out."""
    pytest.importorskip("setuptools", minversion="77")
    source = tmp_path_factory.mktemp("source")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=conftest.ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        path = conftest.ROOT / name
        if path.is_file() and not name.startswith("tests/"):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes(path.read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "."]
    built = subprocess.run(
        [*command, f"--wheel-dir={source / 'dist'}"], cwd=source, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = (source / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_it_has_every_module_of_every_room(names):
    modules = {str(path.relative_to(conftest.ROOT)) for path in PACKAGE.rglob("*.py")}
    assert modules <= names
    assert len(find_packages(str(conftest.ROOT), include=["nst_tf", "nst_tf.*"])) > 8


def test_it_has_the_data(names):
    data = {"nst_tf/py.typed", "nst_tf/data/vgg19_builtin.npz", "nst_tf/data/README.md"}
    data |= {str(path.relative_to(conftest.ROOT)) for path in (PACKAGE / "data").rglob("*.jpg")}
    data |= {str(path.relative_to(conftest.ROOT)) for path in (PACKAGE / "data").rglob("*.png")}
    assert data <= names


def test_it_has_nothing_else(names):
    folders = {name.split("/")[0] for name in names}
    assert {folder for folder in folders if not folder.endswith(".dist-info")} == {"nst_tf"}
