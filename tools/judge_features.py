"""Judges weights by the pictures that they paint: a table in Markdown and a contact sheet.

python tools/judge_features.py --contents=photos --styles=paintings --imagenet=FILE --output=judged
python tools/judge_features.py ... --size=192 --steps=60 --pairs=1    # a quick look

Every photograph is painted like every painting with each of the weights. Oxford's ImageNet weights then say
how far each picture's style and content are from what they should be, at three scales. Finished pictures are
kept in the output folder and not painted again.
"""

import os
import pathlib
import sys
from collections.abc import Sequence

import tool_flags
from absl import app, flags

from nst_tf import errors
from nst_tf.io import samples

_FLAGS = flags.FLAGS
flags.DEFINE_string("contents", None, "a folder of photographs, or one of them")
flags.DEFINE_string("styles", None, "a folder of paintings, or one of them")
flags.DEFINE_string("imagenet", "imagenet", "the ImageNet weights that judge, and paint as the best there is")
flags.DEFINE_list("weights", ["random", "builtin", "imagenet"], "what to compare: as --weights of nst_tf")
flags.DEFINE_string("output", None, "the folder to write to")
flags.DEFINE_string("preset", "default", "the formulation")
flags.DEFINE_integer("size", 512, "longest side of the pictures", 64)
flags.DEFINE_integer("steps", None, "evaluations for each picture; as the preset unless given", 1)
flags.DEFINE_integer("pairs", None, "only so many pairs, each with a photograph of its own first", 1)

_EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp"})


def main(argv: Sequence[str]) -> int:
    """Paints, judges, writes."""
    del argv
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    pairs = _pairs(_pictures("contents"), _pictures("styles"))
    if not _FLAGS.output:
        tool_flags.fail("--output is missing: the folder to write to")
    output = pathlib.Path(_FLAGS.output)
    output.mkdir(parents=True, exist_ok=True)
    from feature_training import gallery, judging  # they load TensorFlow

    options = {name: _FLAGS[name].value for name in ("preset", "size", "steps") if _FLAGS[name].value}
    sources = [_FLAGS.imagenet if source == "imagenet" else source for source in _FLAGS.weights]
    try:
        judge = judging.Judge(_FLAGS.imagenet)
        exhibits = {
            name: gallery.Painter(source, output, options)
            for name, source in zip(map(_name, _FLAGS.weights), sources, strict=True)
        }
        rows = []
        for content, style in pairs:
            rows.append(gallery.hang(content, style, exhibits, judge))
            print(rows[-1].line(), file=sys.stderr, flush=True)
    except errors.InputError as error:
        tool_flags.fail(str(error))
    gallery.contact_sheet(rows).save(output / "contact_sheet.jpg", quality=gallery.QUALITY)
    text = judging.table({row.name: row.verdicts for row in rows})
    (output / "table.md").write_text(text + "\n", encoding="utf-8")
    print(text)
    return 0


def _pictures(flag: str) -> list[pathlib.Path]:
    """Returns the pictures that a flag names."""
    given = _FLAGS[flag].value
    if not given:
        tool_flags.fail(f"--{flag} is missing: a folder of pictures")
    try:
        path = samples.to_path(given, flag)
    except errors.InputError as error:
        tool_flags.fail(str(error))
    found = sorted(path.iterdir()) if path.is_dir() else [path]
    pictures = [file for file in found if file.suffix.lower() in _EXTENSIONS and file.is_file()]
    if not pictures:
        tool_flags.fail(f"--{flag}={given}: no pictures there; allowed: {', '.join(sorted(_EXTENSIONS))}")
    return pictures


def _pairs(
    contents: Sequence[pathlib.Path], styles: Sequence[pathlib.Path]
) -> list[tuple[pathlib.Path, pathlib.Path]]:
    """Returns the pairs to paint: first a photograph each, with another painting, then the rest."""
    pairs = [
        (content, styles[(row + shift) % len(styles)])
        for shift in range(len(styles))
        for row, content in enumerate(contents)
    ]
    return pairs[: _FLAGS.pairs]


def _name(source: str) -> str:
    """Returns what weights are called in the table."""
    return pathlib.PurePath(source).stem


if __name__ == "__main__":
    sys.exit(app.run(main, flags_parser=tool_flags.parse))
