"""The files of a request: found wanting before anything is sent, or written at its end."""

import pathlib
from collections.abc import Iterable

from nst_tf import errors
from nst_tf.io import pictures, samples
from nst_tf.losses.values import Losses
from nst_tf.serving import client


def check_output(output: pathlib.Path, overwrite: bool, given: Iterable[tuple[str, pathlib.Path]]) -> None:
    """Finds out whether the picture can be written.

    Args:
        output: Where to.
        overwrite: Whether a file there may be replaced.
        given: What each picture that is sent is called, and where it is.

    Raises:
        InputError: It cannot, or a picture that is sent would be replaced.
    """
    pictures.check_output(output, overwrite)
    for name, path in given:
        if samples.to_path(path, name).resolve() == output.resolve():
            raise errors.InputError(f"output: {output} is the {name} too; name another file")


def check_previews(folder: pathlib.Path, overwrite: bool) -> None:
    """Finds out whether previews can be written to a folder, which need not be there yet.

    Raises:
        InputError: They cannot, or would replace others.
    """
    if folder.is_dir():
        pictures.check_file(folder / "step_0000.png", True, "previews")
        if not overwrite and any(folder.glob("step_*.png")):
            raise errors.InputError(f"previews: {folder} holds some already; use --overwrite to replace them")
    elif folder.exists():
        raise errors.InputError(f"previews: {folder} is a file; name a folder")
    else:
        pictures.check_file(folder, False, "previews")


def write(answer: client.Answer, output: pathlib.Path, seconds: float) -> str:
    """Writes the picture; returns the line that says where it is and how it came about."""
    pictures.write(answer.image, output)
    height, width = answer.image.shape[:2]
    text = f"{output}: {width} x {height} pixels"
    if answer.step == 0:
        return f"{text} recoloured, {seconds:.0f} s"
    stopped = f" after {answer.step} of {answer.num_steps} steps" if answer.step != answer.num_steps else ""
    return f"{text}{stopped}, {seconds:.0f} s; {describe(answer.losses)}"


def describe(losses: Losses) -> str:
    """Returns the losses that there are, as a person reads them."""
    text = f"content {losses.content:.3g}, style {losses.style:.3g}"
    return f"{text}, total variation {losses.total_variation:.3g}" if losses.total_variation else text
