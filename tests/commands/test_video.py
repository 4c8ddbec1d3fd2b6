"""The command `video`: what its flags mean, and what is refused before anything is painted."""

import os
import signal
import subprocess
import time
from fractions import Fraction

import psutil
import pytest
from absl import flags

pytest.importorskip("av")

from nst_tf import errors
from nst_tf.commands import video
from nst_tf.io import films
from tests.support import command, sample_films


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a film with sound and a painting, which is the current one."""
    command.write_inputs(tmp_path)
    sample_films.write(tmp_path / "film.mp4", sample_films.moving(), sound="aac")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _film(*arguments):
    """Returns the film that flags ask for."""
    values = flags.FlagValues()
    video.define(values)
    given = {"content": "film.mp4", "style": "painting.jpg", "output": "out.mp4"}
    given |= dict(argument.removeprefix("--").split("=", 1) for argument in arguments)
    values(["nst_tf video", *(f"--{name}={value}" for name, value in given.items() if value)])
    return video.to_film(values)


@pytest.mark.usefixtures("folder")
def test_what_is_not_named_has_defaults():
    film = _film()
    assert film.encoding == films.Encoding()
    assert (film.cuts, film.settings.style_times, film.flow, film.preview) == (None, (), None, None)
    assert (film.settings.frame_steps, film.settings.temporal_weight) == (None, None)
    assert len(list(film.frames)) == 8
    assert film.frames.sound is not None
    assert film.settings.config.preset == "default"


@pytest.mark.usefixtures("folder")
def test_times_are_read():
    film = _film("--start=0:00.04", "--duration=0.16", "--fps=50/4", "--cuts=0,1:02.5")
    assert [frame.time for frame in film.frames] == [0, Fraction(2, 25)]
    assert film.cuts == [0, Fraction(125, 2)]


@pytest.mark.usefixtures("folder")
def test_several_styles_over_time():
    film = _film("--style=painting.jpg,painting.jpg", "--style_times=0,1:00")
    assert film.settings.style_times == [0, 60]


@pytest.mark.usefixtures("folder")
def test_steps_and_weights_of_frames():
    settings = _film("--frame_steps=3", "--temporal_weight=0").settings
    assert (settings.frame_steps, settings.temporal_weight) == (3, 0.0)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--content=", "which film"),
        ("--content=none.mp4", "there is no file none.mp4"),
        ("--content=painting.jpg", "is not a film that can be read"),
        ("--output=film.mp4", "is the content too"),
        ("--output=out.webm", "cannot hold h264"),
        ("--output=none/out.mp4", "there is no folder none"),
        ("--codec=mpeg2", "codec: 'mpeg2' is not one of h264, hevc, vp9, av1"),
        ("--quality=52", "quality: 52; allowed: whole numbers from 0"),
        ("--start=soon", "start: 'soon'; allowed: seconds"),
        ("--start=1:2:3:4", "start: '1:2:3:4'"),
        ("--start=-1", "start: '-1'"),
        ("--duration=0", "duration: 0; allowed: seconds, above 0"),
        ("--fps=many", "fps: 'many'; allowed: frames a second"),
        ("--fps=1/0", "fps: '1/0'"),
        ("--fps=0", "fps: 0; allowed"),
        ("--cuts=1,then", "cuts: 'then'"),
        ("--style_times=0,5", "style_times: 0, 5 for 1 styles"),
        ("--actors=2", "actors: shots at a time, on Ray; add --address=local"),
        ("--normalize_activations=true", "normalize_activations: true; allowed: false"),
        ("--flow=none", "flow: there is no folder none"),
        ("--save_every=5", "save_every: a film has many pictures"),
        ("--init=noise", "init: a film has many pictures"),
        ("--preview=last.mp4", "preview format"),
        ("--preview=painting.jpg", "preview: painting.jpg exists"),
        ("--preview=out.mp4.frames", "preview format"),
    ],
)
def test_mistakes_get_one_line(folder, argument, message):
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(errors.InputError, match=message) as found:
        _film(argument)
    assert len(str(found.value).splitlines()) == 1
    assert sorted(path.name for path in folder.iterdir()) == before


def test_the_help_has_every_flag_once():
    values = flags.FlagValues()
    video.define(values)
    listed = [name for names in video.groups().values() for name in names]
    assert len(set(listed)) == len(listed)
    assert set(listed) == set(values) - set(video._REFUSED)
    assert "the film: a file" in values["content"].help


FLAGS = ["--content=film.mp4", "--style=painting.jpg", *command.QUICK, "--preset=gram", "--frame_steps=2"]


@pytest.mark.usefixtures("folder")
def test_a_film_is_painted():
    painting = ["video", *FLAGS, "--duration=0.12", "--preview=last.png", "--output=out.mp4"]
    code, said, err = command.answer(painting)
    assert code == 0, err
    assert said.startswith("out.mp4: 3 frames of 48 x 36 pixels in 1 shot, ")
    assert err.startswith("film.mp4: reading it, to find its shots\nframe 1 of 3, shot 1, 48 x 36")
    assert " s a frame; about " in err
    assert sorted(os.listdir()) == ["film.mp4", "last.png", "out.mp4", "painting.jpg", "photo.png"]
    for again, message in ((painting, "preview: last.png"), ([*painting, "--preview="], "output: out.mp4")):
        code, said, err = command.answer(again)
        assert (code, said) == (2, "")
        assert err == f"nst_tf video: {message} exists; use --overwrite to replace it\n"


def _started(*arguments):
    """Starts painting in a process of its own; waits until two frames are finished."""
    process = subprocess.Popen(
        command.command("video", *FLAGS, *arguments),
        stderr=subprocess.PIPE,
        text=True,
        env=command.environment(),
    )
    while process.poll() is None and not os.path.exists("out.frames/frames/000002.png"):
        time.sleep(0.01)
    assert process.poll() is None
    return process


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
def test_a_film_whose_process_was_killed_goes_on_bit_for_bit(folder):
    process = _started("--output=out")
    process.kill()
    process.communicate()
    assert len(os.listdir("out.frames/frames")) < 8
    finished = command.run(folder, "video", *FLAGS, "--output=out")
    assert finished.returncode == 0, finished.stderr
    assert "frame 3 of 8" in finished.stderr
    assert command.run(folder, "video", *FLAGS, "--output=whole").returncode == 0
    names = sorted(os.listdir("whole"))
    assert len(names) == 8
    for name in names:
        assert (folder / "out" / name).read_bytes() == (folder / "whole" / name).read_bytes()
    assert not os.path.exists("out.frames")


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
def test_shots_side_by_side_make_the_same_film(folder):
    """With as many threads, whose number decides the last bits of sums."""
    pytest.importorskip("ray")
    for output, own in (("alone.mp4", []), ("side.mp4", ["--address=local", "--actors=2"])):
        arguments = [*FLAGS, "--cuts=0.16", f"--output={output}", *own]
        made = command.run(folder, "video", *arguments, TF_NUM_INTRAOP_THREADS="1")
        assert (made.returncode, made.stdout.partition(" in ")[2][:7]) == (0, "2 shots"), made.stderr
    assert (folder / "side.mp4").read_bytes() == (folder / "alone.mp4").read_bytes()
    assert not os.path.exists("side.mp4.frames")


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
def test_a_signal_ends_the_workers_too():
    pytest.importorskip("ray")
    process = _started("--output=out", "--cuts=0.16", "--address=local", "--actors=2")
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 128 + signal.SIGINT
    assert "of 8 frames; finished frames are kept, and the same command goes on after them" in said
    assert not psutil.wait_procs(children, timeout=30)[1]
    assert sorted(os.listdir()) == ["film.mp4", "out.frames", "painting.jpg", "photo.png"]


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
def test_a_signal_keeps_what_is_finished():
    process = _started("--output=out")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 128 + signal.SIGINT
    assert "of 8 frames; finished frames are kept, and the same command goes on after them" in said
    assert len(os.listdir("out.frames/frames")) >= 2
    assert not os.path.exists("out")
