"""The front end that all commands share, as a person meets it; what commands do has tests of its own."""

import configparser
import contextlib
import errno
import logging
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from absl import flags

from nst_tf import errors
from nst_tf.commands import (
    batch,
    export,
    main,
    page,
    presets,
    reconstruct,
    request,
    run_flags,
    stylize,
    sweep,
    terminal,
    video,
)
from nst_tf.config.scales import Scale
from nst_tf.engine.progress import Progress
from nst_tf.losses.values import Losses
from nst_tf.serving import client
from tests import conftest
from tests.support.command import QUICK, answer, assert_one_line, write_inputs

MODULES = {
    "stylize": stylize,
    "presets": presets,
    "sweep": sweep,
    "reconstruct": reconstruct,
    "video": video,
    "batch": batch,
    "export": export,
    "request": request,
    "page": page,
}
HEAVY = {
    *("tensorflow", "keras", "numpy", "PIL", "h5py", "tqdm", "requests", "grpc", "matplotlib", "av", "cv2"),
    "gradio",
    "ray",
}
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(conftest.ROOT)}
NST_TF = [sys.executable, "-m", "nst_tf"]


def _run(*arguments):
    return subprocess.run([*NST_TF, *arguments], capture_output=True, text=True, env=ENVIRONMENT)


def _defined(command):
    values = flags.FlagValues()
    MODULES[command].define(values)
    return set(values)


def test_every_command_is_known():
    assert MODULES.keys() == main.COMMANDS.keys()


def test_the_program_that_is_installed_is_the_front_end():
    setup = configparser.ConfigParser()
    setup.read(conftest.ROOT / "setup.cfg")
    scripts = setup["options.entry_points"]["console_scripts"].split("\n")
    assert [line for line in scripts if line] == [f"nst_tf = {main.__name__}:{main.run.__name__}"]


@pytest.mark.parametrize("command", main.COMMANDS)
def test_help_is_quick_and_complete(command):
    times = []
    for _ in range(3):  # the best of three, since other work may hold up one
        start = time.monotonic()
        finished = _run(command, "--help")
        times.append(time.monotonic() - start)
        if times[-1] < 1:
            break
    assert min(times) < 1
    assert (finished.returncode, finished.stderr) == (0, "")
    assert f"\n  {terminal.program(command)} " in finished.stdout or command == "presets"
    not_shown = {
        "sweep": run_flags.OF_ONE_RUN,
        "video": {*run_flags.OF_ONE_RUN, "init"},
        "batch": batch.REFUSED,
        "reconstruct": {
            *(*run_flags.OF_ONE_RUN, "config", "content_mask", "content_regions", "style_regions", "outside"),
            *("guide_erosion", "style_blend", "style_blend_weights", "content_layers", "content_weight"),
            *("style_layers", "style_layer_weights", "style_weight"),
        },
    }
    shown = {line.split("=")[0].strip() for line in finished.stdout.splitlines() if line.startswith("  --")}
    shown = {name.split()[0].removeprefix("--") for name in shown}
    assert shown == _defined(command) - set(not_shown.get(command, ()))


@pytest.mark.parametrize("command", main.COMMANDS)
def test_help_loads_nothing_heavy(command):
    code = f"from nst_tf.commands import main; main.main(['nst_tf', {command!r}, '--help']); import sys"
    loaded = subprocess.run(
        [sys.executable, "-c", f"{code}; print(*sys.modules, file=sys.stderr)"],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        check=True,
    )
    assert not HEAVY & set(loaded.stderr.split())


@pytest.mark.parametrize("flag", ["-h", "-help", "--help", "-?", "--helpshort", "--helpfull"])
def test_help_may_be_asked_for_in_many_ways(flag, capsys):
    assert main.main(["nst_tf", "presets", flag]) == 0
    assert capsys.readouterr().out.startswith("Lists the formulations")


def test_the_help_without_a_command_lists_the_commands_and_the_flags_of_painting(capsys):
    assert main.main(["nst_tf", "--help"]) == 0
    without = capsys.readouterr().out
    assert main.main(["nst_tf", "stylize", "--help"]) == 0
    assert capsys.readouterr().out == without
    for name, entry in main.COMMANDS.items():
        assert f"\n  {name:<24} {entry.summary}\n" in without
    assert "--content_mask=" in without


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["swep"], "command: 'swep' is not one of stylize, presets, sweep, "),
        (["swep"], "did you mean 'sweep'?"),
        (["paint"], "command: 'paint' is not one of stylize, "),
        ([""], "command: '' is not one of stylize, "),
        (["photo.jpg"], "'photo.jpg': not a flag; files are named as in --content=FILE"),
        (["--size=3", "sweep"], "'sweep': a command comes before its flags, as in nst_tf sweep --help"),
        (["--", "photo.jpg"], "'photo.jpg': not a flag"),
        (["--nocontent"], "Did you mean: content"),
        (["--nooverwrite=3"], "--nooverwrite=3 does not take an argument; --help lists all flags"),
        (["--flagfile=/nowhere/flags"], "Unable to open flagfile"),
        (["--flagfile"], "--flagfile with no argument"),
        (["--content"], "Missing value for flag --content"),
        # What --undefok names may be there; the run goes on to its own mistake.
        (["--undefok=unknown", "--unknown=3"], "--content=FILE is missing"),
    ],
)
def test_a_mistake_gets_one_line(arguments, message, capsys):
    assert main.main(["nst_tf", *arguments]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    (line,) = told.err.splitlines()
    assert line.startswith("nst_tf: ")
    assert message in line


LONG, MANY_DIGITS = "x" * 300, "9" * 5000
FILES = ["--content=photo.png", "--style=painting.jpg", "--output=out.png", "--weights=builtin"]


@pytest.fixture(name="folder", scope="module")
def _folder(tmp_path_factory):
    """A folder with a photograph and a painting, and files of flags."""
    folder = tmp_path_factory.mktemp("main")
    write_inputs(folder)
    for name, flag in {
        "nul": "--trace=a\0b.csv",
        "own": "--init=\0.png",
        "self": "--flagfile=self\n--size=x",
    }.items():
        (folder / name).write_text(flag)
    os.symlink("loop.png", folder / "loop.png")
    os.mkfifo(folder / "pipe.json")
    return folder


UNUSABLE = {
    # Flags of absl's own, of which a command knows --flagfile, --undefok and --help alone.
    "Unknown command line flag": [
        "stderrthreshold=x",
        "verbosity=abc",
        "log_dir=x",
        "pdb",
        "only_check_args",
    ],
    "logtostderr": ["nologtostderr=3"],
    "can't decode": ["flagfile=photo.png"],
    "Is a directory": ["flagfile=."],
    "nst_tf: Hit circular flagfile dependency. Ignoring flagfile: self": ["flagfile=self"],
    "undefok": ["undefok"],
    "size": [f"size={MANY_DIGITS}"],
    "tile": [f"tile={MANY_DIGITS}"],
    "scales": [f"scales={MANY_DIGITS}", "scales=nan"],
    "steps": [f"steps={MANY_DIGITS}", f"steps={MANY_DIGITS},3"],
    "checkpoint_every: nan; allowed: a number": ["checkpoint_every=nan"],
    "style_weight: inf; allowed: from 0": ["style_weight=1e400"],
    "too long": [
        *(
            f"{name}={LONG}.png"
            for name in ("flagfile", "content", "style", "plot", "logdir", "config", "init")
        ),
        *(f"{name}={LONG}/a.png" for name in ("output", "comparison", "content_mask", "animation")),
    ],
    "symbolic links": [f"{name}=loop.png" for name in ("content", "output", "init", "style_regions")],
    "embedded null": ["flagfile=\0"],
    "trace: 'a\\x00b.csv' cannot be used: embedded null": ["flagfile=nul"],
    "init: '\\x00.png' cannot be used: embedded null": ["flagfile=own"],
    "is not an ordinary file; name another": ["config=pipe.json", "config=/dev/zero"],
    "init: 'given' stands for a picture that was handed over in Python": ["init=given"],
}


@pytest.mark.parametrize(
    ("flag", "message"), [(flag, message) for message, listed in UNUSABLE.items() for flag in listed]
)
def test_a_flag_that_cannot_be_used_gets_one_line(flag, message, folder, monkeypatch):
    monkeypatch.chdir(folder)
    before = sorted(os.listdir())
    assert_one_line(answer([*FILES, f"--{flag}"]), message)
    assert sorted(os.listdir()) == before


def test_a_start_that_needs_a_photograph_is_refused_without_one(folder, monkeypatch):
    monkeypatch.chdir(folder)
    texture = ["--style=painting.jpg", "--output=out.png", "--content_weight=0", "--init=content"]
    assert_one_line(answer(texture), "init: 'content' needs a photograph")


def test_a_folder_that_has_been_removed_gets_one_line(folder, tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    named = [f"--content={folder / 'photo.png'}", f"--style={folder / 'painting.jpg'}"]
    assert_one_line(answer([*named, "--output=out.png"]), "output: out.png is relative to the")
    out = tmp_path / "out.png"
    code, said, _ = answer([*named, *QUICK, "--steps=1", "--size=32", f"--output={out}"])
    assert (code, out.is_file()) == (0, True)
    assert said.startswith(f"{out}: 32 x 24 pixels")


# {command: (a flag with a typo, what was meant)}.
TYPOS = {
    "stylize": ("--contnt=x", "content"),
    "presets": ("--preset=x", None),  # it has no flag
    "sweep": ("--colums=x", "columns"),
    "reconstruct": ("--otput=x", "output"),
    "video": ("--framesteps=x", "frame_steps"),
    "batch": ("--max_failure=1", "max_failures"),
    "page": ("--max_pixel=1", "max_pixels"),
    "export": ("--precison=x", "precision"),
    "request": ("--pogress=x", "progress"),
}


@pytest.mark.parametrize("command", main.COMMANDS)
def test_a_typo_in_a_flag_gets_one_line_with_a_hint(command, capsys):
    typo, meant = TYPOS[command]
    assert main.main(["nst_tf", command, typo]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("nst_tf: " if command == "stylize" else f"nst_tf {command}: ")
    assert "Unknown command line flag" in line
    assert meant is None or f"Did you mean: {meant}" in line


@pytest.mark.parametrize("command", [name for name in main.COMMANDS if name != "stylize"])
def test_a_word_that_is_no_flag_gets_one_line(command, capsys):
    assert main.main(["nst_tf", command, "photo.jpg"]) == 2
    assert capsys.readouterr().err == f"nst_tf {command}: 'photo.jpg' is not a flag; --help lists all flags\n"


def test_flags_may_be_kept_in_a_file(tmp_path, capsys):
    (tmp_path / "flags").write_text("# of every run\n--pooling=mean\n--content=c.png\n--style=s.png\n")
    assert main.main(["nst_tf", f"--flagfile={tmp_path / 'flags'}"]) == 2
    assert "pooling: 'mean' is not one of max, average" in capsys.readouterr().err
    (tmp_path / "flags").write_text("--help\n")
    assert main.main(["nst_tf", "presets", f"--flagfile={tmp_path / 'flags'}"]) == 0
    assert capsys.readouterr().out.startswith("Lists the formulations")
    (tmp_path / "flags").write_bytes(b"\xff\xfe\x00")
    assert main.main(["nst_tf", f"--flagfile={tmp_path / 'flags'}"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_flags_of_one_call_are_not_those_of_the_next(capsys):
    assert main.main(["nst_tf", "--list_presets"]) == 0
    assert main.main(["nst_tf"]) == 2
    assert "--content=FILE is missing" in capsys.readouterr().err


def test_presets_are_listed_by_a_command_as_by_the_flag():
    listed = _run("presets")
    assert (listed.returncode, listed.stderr) == (0, "")
    assert listed.stdout == _run("--list_presets").stdout
    assert listed.stdout.startswith("preset ")


@pytest.mark.parametrize("arguments", [["--help"], ["sweep", "--help"], ["presets"], ["--list_presets"]])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_has_gone_away_is_no_mistake(arguments, unbuffered):
    reader, writer = os.pipe()
    os.close(reader)
    finished = subprocess.run(
        [*NST_TF, *arguments],
        stdout=writer,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT | {"PYTHONUNBUFFERED": unbuffered},
    )
    os.close(writer)
    assert (finished.returncode, finished.stderr) == (0, b"")


def test_the_head_of_a_list_is_all_that_one_sees():
    line = f"set -o pipefail; {sys.executable} -m nst_tf presets | head -1"
    finished = subprocess.run(["bash", "-c", line], capture_output=True, text=True, env=ENVIRONMENT)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout == "preset                cost  source and character\n"


@pytest.mark.parametrize(("closed", "code"), [("1>&-", 2), ("2>&-", 2), ("0<&- 1>&- 2>&-", 2)])
def test_a_standard_stream_may_be_closed(closed, code):
    """Of a run that gets as far as its files, by way of `runtime.quiet`."""
    named = "--content=/nowhere.png --style=/nowhere.png --output=out.png"
    line = f"{sys.executable} -m nst_tf {named} {closed}"
    finished = subprocess.run(["bash", "-c", line], capture_output=True, text=True, env=ENVIRONMENT)
    assert finished.returncode == code
    assert finished.stdout == ""
    expected = "nst_tf: content: there is no file /nowhere.png\n"
    assert finished.stderr == ("" if "2>&-" in closed else expected)


def test_what_standard_error_cannot_show_is_escaped(capsys):
    assert main.main(["nst_tf", "--content=a\nb\udc80.png", "--style=s", "--output=o.png"]) == 2
    assert "there is no file a\\nb\\udc80.png" in capsys.readouterr().err


def test_a_warning_is_one_printable_line_whatever_a_file_says(capsys, monkeypatch):
    logger = logging.getLogger("nst_tf")
    monkeypatch.setattr(logger, "propagate", True)
    monkeypatch.setattr(logger, "handlers", [])
    terminal.show_warnings()
    logger.warning("made with %s", "\x1b[31mred\n" + "x" * 100_000)
    terminal.complain("stylize", "y" * 100_000)
    warning, complaint = capsys.readouterr().err.splitlines()
    assert warning.startswith(r"made with \x1b[31mred\nxxx")
    assert complaint.startswith("nst_tf: yyy")
    assert max(len(warning), len(complaint)) < 2100


@pytest.fixture(name="handlers")
def _handlers():
    """Gives the test's process back its handlers; {signal: handler}."""
    before = {number: signal.getsignal(number) for number in terminal.SIGNALS}
    yield before
    for number, handler in before.items():
        signal.signal(number, handler)


def _handled():
    return {number: signal.getsignal(number) for number in terminal.SIGNALS}


@pytest.mark.parametrize("command", main.COMMANDS)
def test_ctrl_c_at_any_time_gets_one_line(command, capsys, monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(MODULES[command], "main", interrupted)
    assert main.main(["nst_tf", command]) == 130
    name = "nst_tf" if command == "stylize" else f"nst_tf {command}"
    assert capsys.readouterr().err == f"{name}: interrupted; nothing was written\n"


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("command", main.COMMANDS)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_at_any_time_gets_one_line_and_its_exit_code(command, number, code, capsys, monkeypatch):
    monkeypatch.setattr(MODULES[command], "main", lambda _: signal.raise_signal(number))
    terminal.heed_signals()
    assert main.main(["nst_tf", command]) == code
    name = "nst_tf" if command == "stylize" else f"nst_tf {command}"
    assert capsys.readouterr().err == f"{name}: interrupted; nothing was written\n"


LINKER = "libtensorflow_cc.so.2: failed to map segment from shared object"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError("Unable to allocate\n1.41 GiB"), "Unable to allocate 1.41 GiB"),
        (MemoryError(), "MemoryError"),
        (ImportError(LINKER), LINKER),
    ],
)
def test_memory_that_runs_out_gets_one_line(error, said, capsys, monkeypatch):
    def fail(_):
        raise error

    monkeypatch.setattr(stylize, "main", fail)
    assert main.main(["nst_tf"]) == 1
    assert capsys.readouterr().err == (
        f"nst_tf: memory ran out ({said}); a smaller --size or smaller pictures need less, or allow more\n"
    )


@pytest.mark.parametrize("kind", ["ResourceExhaustedError", "AbortedError"])
@pytest.mark.parametrize("name", main.COMMANDS)
def test_memory_that_tensorflow_lacks_gets_one_line(kind, name, capsys, monkeypatch):
    def fail(_):
        raise type(kind, (Exception,), {})("could not create a\nmemory object")  # as TensorFlow names it

    monkeypatch.setattr(MODULES[name], "main", fail)
    assert main.main(["nst_tf", name]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "memory ran out (could not create a memory object)" in line


@pytest.mark.parametrize("name", main.COMMANDS)
def test_what_a_disk_refuses_gets_one_line(name, capsys, monkeypatch):
    def fail(_):
        raise OSError(errno.ENOSPC, "No space left on device", "a.png")

    monkeypatch.setattr(MODULES[name], "main", fail)
    assert main.main(["nst_tf", name]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("[Errno 28] No space left on device: 'a.png'")


def test_another_import_that_fails_is_not_about_memory(monkeypatch):
    def fail(_):
        raise ImportError("no module named tensorflow")

    monkeypatch.setattr(stylize, "main", fail)
    with pytest.raises(ImportError, match="no module"):
        main.main(["nst_tf"])


@pytest.mark.usefixtures("handlers")
def test_what_a_process_ignores_stays_ignored():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup
    terminal.heed_signals()
    with terminal.RunWatch() as watch:
        watch(PROGRESS)
        signal.raise_signal(signal.SIGHUP)
        assert watch(PROGRESS) is False
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


PROGRESS = Progress(0, (Scale(6, 8, 2, 1.0),), 1, 2, (Losses(3, 1, 2, 0),), lambda: np.zeros((6, 8, 3)))


@pytest.mark.parametrize("number", terminal.SIGNALS)
def test_a_signal_stops_a_run_and_is_given_back(number, handlers, capsys):
    with terminal.RunWatch() as watch:
        assert _handled() == handlers, "there is no picture yet"
        assert watch(PROGRESS) is False
        assert signal.getsignal(number) != handlers[number]
        signal.raise_signal(number)
        assert set(_handled().values()) == {signal.SIG_DFL}, "a second one ends the process at once"
        assert watch(PROGRESS) is True
        assert watch.exit_code("stopped") == 128 + number
        watch.end_steps()
        assert _handled() == handlers, "one that comes while files are written"
    assert "step 1 of 2, 8 x 6: content 1, style 2" in capsys.readouterr().err


def test_a_signal_while_files_are_written_lets_them_be_finished(handlers):
    with terminal.RunWatch() as watch:
        watch(PROGRESS)
        watch.end_steps()
        signal.raise_signal(signal.SIGTERM)
        assert _handled() == handlers, "a second one raises, so that what is half-written is removed"
        assert watch.exit_code("finished") == 0
    assert _handled() == handlers


def test_a_run_that_fails_gives_signals_back(handlers):
    with contextlib.suppress(errors.InputError), terminal.RunWatch() as watch:
        watch(PROGRESS)
        raise errors.InputError("a run that fails")
    assert _handled() == handlers


def test_the_help_of_a_request_says_what_the_client_does():
    values = flags.FlagValues()
    request.define(values)
    assert f"[{client.STEPS_NOW}]" in values["steps_now"].help
    assert f"[{client.TIMEOUT_S:g}]" in values["timeout_s"].help


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
@pytest.mark.parametrize("arguments", [["--help"], ["presets"], ["--list_presets"]])
def test_what_only_prints_fails_on_a_full_disk_without_a_traceback(arguments):
    with open("/dev/full", "w") as full:
        finished = subprocess.run(
            [sys.executable, "-m", "nst_tf", *arguments], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert (finished.returncode, finished.stderr) == (1, "")
