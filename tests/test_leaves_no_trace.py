"""The library leaves the process in which it works as it found it."""

import json
import os
import subprocess
import sys

from tests import conftest

# Prints what has changed after `import nst_tf`, and after runs, each as {what: (before, after)}.
CODE = """
import json, locale, logging, os, pathlib, signal, socket, sys, tempfile, warnings

def state():
    loggers = [logging.getLogger(), *(each for each in logging.root.manager.loggerDict.values())]
    found = {
        "environment": dict(os.environ),
        "signals": [str(signal.getsignal(number)) for number in sorted(signal.valid_signals())],
        "mask": os.umask(0),
        "time-out": socket.getdefaulttimeout(),
        "streams": [id(sys.stdin), id(sys.stdout), id(sys.stderr)],
        "files behind them": [os.fstat(number)[:3] for number in (0, 1, 2)],
        "folder": os.getcwd(),
        "folder of temporaries": tempfile.gettempdir(),
        "warnings": [str(each) for each in warnings.filters],
        "what shows a warning": id(warnings.showwarning),
        "locale": locale.setlocale(locale.LC_ALL),
        "hooks": [id(sys.excepthook), id(sys.unraisablehook)],
        "digits": sys.get_int_max_str_digits(),
        "recursion": sys.getrecursionlimit(),
        "logs": {
            each.name: [each.level, list(map(str, each.handlers)), len(each.filters), each.propagate]
            for each in loggers
            if isinstance(each, logging.Logger) and (each.level or each.handlers or each.filters)
        },
        "disabled logs": logging.root.manager.disable,
    }
    os.umask(found["mask"])
    if "numpy" in sys.modules:
        import numpy
        found["numbers"] = [numpy.geterr(), str(numpy.get_printoptions()), numpy.random.get_state()[2]]
    if "PIL.Image" in sys.modules:
        from PIL import Image, ImageFile
        found["pictures"] = [Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES]
    if "tensorflow" in sys.modules:
        import keras
        import tensorflow as tf
        found["tensorflow"] = [
            tf.config.functions_run_eagerly(), tf.config.get_soft_device_placement(),
            tf.config.optimizer.get_jit(), keras.config.floatx(), keras.config.image_data_format(),
            keras.config.dtype_policy().name,
            str(tf.config.optimizer.get_experimental_options()),
        ]
    return json.loads(json.dumps(found))

def changes(before, after):
    return {name: (before[name], after[name]) for name in before if before[name] != after[name]}

os.umask(0o027)
before = state()
import nst_tf
imported = changes(before, state())
assert "numpy" not in sys.modules
os.environ["KERAS_BACKEND"] = "tensorflow"
import keras, numpy, tensorflow
import PIL.Image, PIL.ImageFile
PIL.Image.preinit(), PIL.Image.init()
del os.environ["KERAS_BACKEND"]
before = state()
settings = json.loads(sys.argv[1])
picture = numpy.linspace(0, 1, 32 * 40 * 3, dtype=numpy.float32).reshape(32, 40, 3)
shown = [nst_tf.Animation("a.gif"), nst_tf.Snapshots("o.png", 2)]
result = nst_tf.stylize(
    picture, picture[::-1], init="noise", content_mask=picture[..., 0].round(), callbacks=shown,
    checkpoint="c", **settings
)
result.save("o.png")
nst_tf.read_image("o.png")
nst_tf.evaluate(picture, picture, picture, **settings)
from nst_tf import client
try:
    client.check_server("http://127.0.0.1:9")
except (nst_tf.InputError, client.ServerError):
    pass
print(json.dumps([imported, changes(before, state())]))
"""


def test_the_library_changes_nothing_in_its_process(tmp_path):
    settings = {**conftest.SHALLOW, "size": 32, "steps": 3, "weights": "builtin", "precision": "float32"}
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    finished = subprocess.run(
        [sys.executable, "-c", CODE, json.dumps(settings)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": str(conftest.ROOT)},
    )
    assert finished.returncode == 0, finished.stderr
    assert json.loads(finished.stdout) == [{}, {}]
    assert (tmp_path / "o.png").stat().st_mode & 0o777 == 0o640
