"""The presets by name, and the one way from a name and a person's changes to a config."""

import dataclasses
import os
from collections.abc import Mapping

from nst_tf import config, errors, formulations, scales
from nst_tf.changes import override


@dataclasses.dataclass(frozen=True)
class Preset:
    """A config with what a person wants to know before choosing it."""

    config: config.Config
    source: str
    character: str


# (formulation, source, character); names are the formulations' own.
_ALL = (
    (
        formulations.DEFAULT,
        "this project",
        "best picture per minute on a laptop: three scales, broad strokes first",
    ),
    (
        formulations.FIVE_CONTENT_LAYERS,
        "text: content loss over five layers",
        "the photograph kept at five layers, 6000 small steps",
    ),
    (formulations.UDACITY, "text: Udacity's notebook", "many small steps, most weight on fine texture"),
    (formulations.ANHTU96, "text: anhtu96's program", "stretched to 3:2; quick"),
    (
        formulations.GATYS2015,
        "Gatys, Ecker, Bethge 2015, arXiv:1508.06576",
        "from white noise, average pooling",
    ),
    (
        formulations.GRAY_CANVAS,
        "text: digital image processing",
        "as gatys2015, from a blank grey canvas",
    ),
    (
        formulations.GATYS_PYTORCH,
        "leongatys/PytorchNeuralStyleTransfer",
        "the authors' own program: two large scales",
    ),
    (formulations.JOHNSON, "jcjohnson/neural-style", "the classic command line, from faint noise"),
    (
        formulations.NEURAL_STYLE_PT,
        "ProGamerGov/neural-style-pt",
        "as johnson, with absolute total variation",
    ),
    (formulations.CYSMITH, "cysmith/neural-style-tf", "average pooling, content before the ReLU"),
    (
        formulations.ANISHATHALYE,
        "anishathalye/neural-style",
        "strong total variation, Adam, best iterate",
    ),
    (
        formulations.GORDICALEKSA,
        "gordicaleksa/pytorch-neural-style-transfer",
        "much style: small pictures become the painting",
    ),
    (formulations.TF_TUTORIAL, "TensorFlow's tutorial", "what most people try first; deep content layer"),
    (formulations.KERAS_EXAMPLE, "keras.io's example", "plain gradient descent, 4000 steps"),
    (
        formulations.CROWSONKB,
        "crowsonkb/style-transfer-pytorch",
        "Wasserstein distance, five scales, averaged: rich and smooth, slow",
    ),
    (formulations.SPST, "SPST", "means and deviations beside Gram matrices; four scales up to 1024"),
)

PRESETS: Mapping[str, Preset] = {entry[0].preset: Preset(*entry) for entry in _ALL}


def relative_cost(name: str) -> float:
    """Returns about how many times as long as the default a preset takes.

    That is the ratio of evaluated pixels, for a 4:3 picture.
    """

    def cost(chosen: config.Config) -> int:
        plan = scales.plan_scales(chosen, 3 * 256, 4 * 256)
        return sum(scale.height * scale.width * scale.num_steps for scale in plan)

    return cost(PRESETS[name].config) / cost(formulations.DEFAULT)


# Names the weights to use where nothing else does.
WEIGHTS_VARIABLE = "NST_TF_WEIGHTS"


def get(preset: str | config.Config, **changes: object) -> config.Config:
    """Returns a preset's config with some fields replaced, as `changes.override` does.

    The environment variable `NST_TF_WEIGHTS` stands in for a preset's `weights` where they are not given.

    Args:
        preset: A name, or a config to start from.
        **changes: {field: value}.

    Raises:
        InputError: There is no such preset or field, or a value is not allowed.
    """
    if isinstance(preset, config.Config):
        return override(preset, changes)
    if preset not in PRESETS:
        raise errors.unknown_name("preset", preset, PRESETS)
    if weights := os.environ.get(WEIGHTS_VARIABLE):
        changes = {"weights": weights} | changes
    return override(PRESETS[preset].config, changes)
