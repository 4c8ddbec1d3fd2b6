"""Compares weights by the pictures that they paint: a table in Markdown and a contact sheet.

python tools/features/compare.py --contents=photos --styles=paintings --imagenet=FILE --output=compared
python tools/features/compare.py ... --size=192 --steps=60 --pairs=1    # a quick look

Every photograph is painted like every painting with each of the weights. Oxford's ImageNet weights then
measure how far each picture's style is from the painting's and its content from the photograph's, at three
scales. Finished pictures are kept in the output folder and not painted again.
"""

import pathlib
import sys
from collections.abc import Sequence

from absl import app, flags

from nst_tf import errors, runtime
from nst_tf.io import samples

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # the folder of the tools
import tool_flags

_FLAGS = flags.FLAGS
flags.DEFINE_string("contents", None, "a folder of photographs, or one of them")
flags.DEFINE_string("styles", None, "a folder of paintings, or one of them")
flags.DEFINE_string(
    "imagenet", "imagenet", "the ImageNet weights: they measure, and stand for imagenet in --weights"
)
flags.DEFINE_list(
    "weights", ["random", "builtin", "imagenet"], "the weights to compare, as --weights of nst_tf"
)
flags.DEFINE_string("output", None, "the folder to write to")
flags.DEFINE_string("preset", "gram", "the formulation")
flags.DEFINE_integer("size", 512, "longest side of the pictures", 64)
flags.DEFINE_integer("steps", None, "evaluations for each picture [as the preset]", 1)
flags.DEFINE_integer("pairs", None, "the number of pairs, first one for each photograph [all]", 1)

_EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp"})


def main(argv: Sequence[str]) -> int:
    """Paints, measures, writes."""
    del argv
    pairs = _pairs(_pictures("contents"), _pictures("styles"))
    if not _FLAGS.output:
        tool_flags.fail("--output is missing: the folder to write to")
    output = pathlib.Path(_FLAGS.output)
    with runtime.quiet():
        from features import comparison  # it loads TensorFlow

    options = {name: _FLAGS[name].value for name in ("preset", "size", "steps") if _FLAGS[name].value}
    named = [_FLAGS.imagenet if source == "imagenet" else source for source in _FLAGS.weights]
    try:
        comparison.check_size(pairs, _FLAGS.size)
        output.mkdir(parents=True, exist_ok=True)
        metric = comparison.Metric(_FLAGS.imagenet)
        stylizers = {
            name: comparison.CachedStylizer(source, output, options)
            for name, source in zip(map(_name, _FLAGS.weights), named, strict=True)
        }
        rows = []
        for content, style in pairs:
            rows.append(comparison.compare(content, style, stylizers, metric))
            print(rows[-1].line(), file=sys.stderr, flush=True)
        comparison.contact_sheet(rows).save(output / "contact_sheet.jpg", quality=comparison.QUALITY)
        text = comparison.table({row.name: row.distances for row in rows})
        (output / "table.md").write_text(text + "\n", encoding="utf-8")
    except (errors.InputError, OSError) as error:
        tool_flags.fail(errors.one_line(error))
    print(text)
    return 0


def _pictures(flag: str) -> list[pathlib.Path]:
    """Returns the pictures that a flag names."""
    named = _FLAGS[flag].value
    if not named:
        tool_flags.fail(f"--{flag} is missing: a folder of pictures")
    try:
        path = samples.to_path(named, flag)
    except errors.InputError as error:
        tool_flags.fail(str(error))
    found = sorted(path.iterdir()) if path.is_dir() else [path]
    pictures = [file for file in found if file.suffix.lower() in _EXTENSIONS and file.is_file()]
    if not pictures:
        tool_flags.fail(f"--{flag}={named}: no pictures there; allowed: {', '.join(sorted(_EXTENSIONS))}")
    return pictures


def _pairs(
    contents: Sequence[pathlib.Path], styles: Sequence[pathlib.Path]
) -> list[tuple[pathlib.Path, pathlib.Path]]:
    """Returns the pairs to paint: first each photograph once, with different paintings, then the rest."""
    pairs = [
        (content, styles[(row + shift) % len(styles)])
        for shift in range(len(styles))
        for row, content in enumerate(contents)
    ]
    return pairs[: _FLAGS.pairs]


def _name(source: str) -> str:
    """Returns the name of weights in the table."""
    return pathlib.PurePath(source).stem


if __name__ == "__main__":
    sys.exit(app.run(main, flags_parser=tool_flags.parse))
