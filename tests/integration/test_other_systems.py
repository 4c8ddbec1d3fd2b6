"""Systems that lack what Linux has: Windows and macOS, as far as taking it away here shows."""

import subprocess
import sys

import pytest
from PIL import Image

from tests.support import command
from tests.support.command import FILES, QUICK

# Takes away, once other packages have been loaded, what they may need themselves.
_WITHOUT = """
import os, platform, signal, sys
import absl.flags, h5py, keras, numpy, PIL.Image, PIL.ImageCms, psutil, safetensors.numpy, tensorflow, tqdm
import av, cv2, matplotlib.pyplot, tensorboard

for name in ("resource", "fcntl", "pwd", "grp", "termios"):
    sys.modules[name] = None
for name in (
    "fork", "register_at_fork", "sched_getaffinity", "getuid", "geteuid", "fchmod", "fchown", "killpg",
    "setsid", "O_NOFOLLOW", "O_DIRECTORY", "O_CLOEXEC", "link", "mkfifo", "statvfs", "sysconf",
):
    if hasattr(os, name):
        delattr(os, name)
os.supports_dir_fd = os.supports_follow_symlinks = os.supports_fd = frozenset()
for name in ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGKILL", "SIGPIPE", "SIGXFSZ", "pthread_sigmask"):
    delattr(signal, name)
platform.libc_ver = lambda *_: ("", "")

from nst_tf.commands import main
sys.exit(main.main(["nst_tf", *sys.argv[1:]], prepare=True))
"""


@pytest.fixture
def folder(tmp_path):
    """A folder with a photograph and a painting."""
    command.write_inputs(tmp_path)
    return tmp_path


def _run(folder, *arguments):
    return subprocess.run(
        [sys.executable, "-c", _WITHOUT, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env=command.environment(),
    )


@pytest.mark.slow
def test_it_paints_and_goes_on(folder):
    showing = ["--trace=t.csv", "--animation=a.gif", "--plot=p.png", "--logdir=logs", "--save_every=50"]
    often = ["--checkpoint_every=0.01", "--steps=100", "--resume"]
    finished = _run(folder, *FILES, *QUICK, *showing, *often, "--output=out.png")
    assert finished.returncode == 0, finished.stderr
    assert "Traceback" not in finished.stderr
    assert "could not" not in finished.stderr
    assert Image.open(folder / "out.png").size == (48, 36)
    assert not list(folder.glob(".*"))
    assert not (folder / "out.png.checkpoint").exists()


@pytest.mark.slow
def test_it_paints_a_sheet(folder):
    values = ["--columns=seed=1,2", "--keep=kept", "--output=sheet.png"]
    finished = _run(folder, "sweep", *FILES, *QUICK, *values)
    assert finished.returncode == 0, finished.stderr
    assert len(list((folder / "kept").glob("*.png"))) == 2
