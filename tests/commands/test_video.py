"""The command `video`: what its flags mean, and what is refused before anything is painted."""

from fractions import Fraction

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
    assert (film.cuts, film.style_times, film.flow) == (None, (), None)
    assert len(list(film.frames)) == 8
    assert film.frames.sound is not None
    assert film.run.config.preset == "default"


@pytest.mark.usefixtures("folder")
def test_times_are_read():
    film = _film("--start=0:00.04", "--duration=0.16", "--fps=50/4", "--cuts=0,1:02.5")
    assert [frame.time for frame in film.frames] == [0, Fraction(2, 25)]
    assert film.cuts == [0, Fraction(125, 2)]


@pytest.mark.usefixtures("folder")
def test_several_styles_over_time():
    film = _film("--style=painting.jpg,painting.jpg", "--style_times=0,1:00")
    assert film.style_times == [0, 60]


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
        ("--flow=none", "flow: there is no folder none"),
        ("--save_every=5", "save_every: a film has many pictures"),
        ("--init=noise", "init: a film has many pictures"),
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
