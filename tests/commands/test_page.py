"""The command `page`: what it refuses before it serves anything, and how it ends."""

import contextlib
import importlib.util
import os
import signal
import socket
import subprocess
import urllib.request

import pytest
from absl import flags

from nst_tf.commands import page
from nst_tf.page import backends
from nst_tf.page.limits import Limits
from tests.support import command as running


def _refused(message, *flags, capsys, code=2):
    answer = running.answer(["page", *flags])
    assert answer[0] == code
    assert answer[1] == ""
    (line,) = answer[2].splitlines()
    assert line.startswith("nst_tf page: ")
    assert message in line
    del capsys


def test_without_gradio_it_says_what_to_install(monkeypatch, capsys):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "gradio" else found(name))
    _refused("page: needs Gradio, which is missing: pip install '.[page]'", capsys=capsys)


@pytest.fixture
def gradio():
    pytest.importorskip("gradio")


@pytest.mark.usefixtures("gradio")
def test_mistakes_are_one_line(capsys, monkeypatch, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        _refused(f"port: 127.0.0.1:{port} cannot be listened at", f"--port={port}", capsys=capsys)
    _refused("port", "--port=0", capsys=capsys)
    _refused("max_steps", "--max_steps=0", capsys=capsys)
    _refused("password_file", f"--password_file={tmp_path}/nowhere", capsys=capsys)
    _refused("server: 'ftp://x'", "--server=ftp://x", f"--port={port}", capsys=capsys)
    by_server = ("--server=https://127.0.0.1", f"--port={port}")
    _refused("header: the $VARIABLE in the value of key", "--header=key=$NST_NO", *by_server, capsys=capsys)
    _refused("ca_file: ", f"--ca_file={tmp_path}/nowhere", *by_server, capsys=capsys)
    _refused("timeout_s: -1.0; allowed", "--timeout_s=-1", *by_server, capsys=capsys)
    _refused("ca_file: of no use without --server", "--ca_file=ca.pem", f"--port={port}", capsys=capsys)
    monkeypatch.setenv("NST_TF_WEIGHTS", str(tmp_path / "vgg.npz"))
    _refused("vgg.npz", f"--port={port}", capsys=capsys)


@pytest.mark.usefixtures("gradio")
def test_a_header_comes_from_the_environment_and_is_shown_nowhere(monkeypatch):
    monkeypatch.setenv("NST_TOKEN", "open-sesame-open")
    values = flags.FlagValues()
    page.define(values)
    values(["page", "--server=https://127.0.0.1", "--header=x-key=$NST_TOKEN", "--model=other"])
    backend = page._backend(values, Limits())
    assert isinstance(backend, backends.Server)
    assert backend.options["headers"] == {"x-key": "open-sesame-open"}
    assert backend.options["model"] == "other"
    assert "sesame" not in repr(backend)


def test_who_may_come_in_is_said(monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert page._exposed("0.0.0.0").startswith("\x1b[31m--host=0.0.0.0 without --password_file: whoever")


@pytest.mark.slow
@pytest.mark.usefixtures("gradio")
def test_it_serves_until_a_signal_and_leaves_nothing(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = running.environment(NST_TF_WEIGHTS="builtin", TMPDIR=str(tmp_path))
    with subprocess.Popen(
        running.command("page", f"--port={port}"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == f"http://127.0.0.1:{port}/: paint there; Ctrl-C ends it\n"
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as answer:
                assert b"a photograph, painted like a painting" in answer.read()
            assert [name for name in os.listdir(tmp_path) if name.startswith(".nst_tf-")]
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=60)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
    assert (process.returncode, out, err) == (0, "the page is closed; its files are removed\n", "")
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".nst_tf-")]
