"""A reader that ends in every way in which a reader may or may not, for those who watch readers."""

import os
import time

from fuzz import inputs

from nst_tf import errors


def numbered(chance):
    return inputs.Input(arguments=(str(chance.random()),))


def _accept(_):
    pass


def _refuse(_):
    raise errors.InputError("content: 17 of '/tmp/x/y.png' cannot be read")


def _refuse_in_lines(_):
    error = errors.InputError("content")
    error.args = ("content: it\ncannot be read",)  # which its own message never is
    raise error


def _raise(_):
    raise KeyError("name")


def _exit(_):
    raise SystemExit(3)


def _abort(_):
    os.abort()


def _leave(_):
    os._exit(5)


def _sleep(_):
    time.sleep(1000)


def _spin(_):
    while True:
        pass


def _allocate(_):
    return bytearray(b"x") * (400 * 2**20)


# {what a reader does: what the campaign is to count it as}
ENDS = {
    _accept: "accepted",
    _refuse: "error",
    _refuse_in_lines: "traceback",
    _raise: "traceback",
    _exit: "traceback",
    _abort: "crash",
    _leave: "crash",
    _sleep: "hang",
    _spin: "hang",
    _allocate: "peak",
}


def as_numbered(given, folder):
    """Ends as the input's number says."""
    del folder
    ends = {inputs.chance("odd", number).random(): end for number, end in enumerate(ENDS)}
    list(ENDS)[list(ends).index(float(given.arguments[0]))](given)
