"""One config for each publication or program, the source beside every value.

Layer names: the texts write "conv4_2", but in Caffe and in torchvision the ReLU acts in place on that
very array, so what their programs compare is the rectified feature, relu4_2.
"""

import dataclasses
import os
from collections.abc import Mapping

from nst_tf import config, errors

# The first convolution of each block, after the ReLU: Gatys et al. 2015 (arXiv:1508.06576), methods.
_STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")

GATYS_PYTORCH = config.Config(
    preset="gatys_pytorch",
    content_layers=("relu4_2",),
    content_weight=1.0,
    content_normalization="mean",
    style_layers=_STYLE_LAYERS,
    style_layer_weights=(1.0,) * 5,  # the notebook's 1e3 / N^2 is in the normalisation
    style_weight=1.0,
    style_normalization="gatys_pytorch",
    total_variation="sum_absolute",
    total_variation_weight=0.0,  # none in the notebook
    pooling="max",
    init="content",
    optimizer="lbfgs",
    learning_rate=1.0,  # torch.optim.LBFGS' default
    history=100,  # torch.optim.LBFGS' default
    preconditioner="none",
    clip=False,  # the notebook clips when it shows the picture
    size=800,  # the notebook's img_size_hr, of the short side as torchvision's Resize measures
    size_side="shortest",
    scales=(512 / 800, 1.0),  # img_size, img_size_hr
    steps=(500, 200),  # max_iter, max_iter_hr
)

# The formulation of GATYS_PYTORCH; what differs was chosen by looking at pictures (three photographs times
# three paintings at 512 px) and by the losses after a fixed number of evaluations.
DEFAULT = dataclasses.replace(
    GATYS_PYTORCH,
    preset="default",
    # From a coarse start the style has a freer hand than from the photograph at full size: with 1 or 5
    # houses dissolved into the painting, with 20 they were there, with 50 they kept their windows.
    content_weight=50.0,
    # A quarter fewer evaluations to the same loss at 256 px than without it.
    preconditioner="inverse_sqrt_frequency",
    clip=True,
    # 20 pairs lower the loss by 4 % after 150 evaluations and double the state; 100 pairs no further.
    history=10,
    size=512,
    size_side="longest",
    # Broad strokes are laid where the network sees far, at 128 px, and cost next to nothing there.
    scales=(0.25, 0.5, 1.0),
    steps=(100, 80, 60),  # about 90 s on two cores with bfloat16 instructions
)


@dataclasses.dataclass(frozen=True)
class Preset:
    """A config with what a person wants to know before choosing it."""

    config: config.Config
    source: str
    character: str


PRESETS: Mapping[str, Preset] = {
    "default": Preset(
        DEFAULT,
        "this project",
        "the best picture per minute on a laptop: three scales, broad strokes first",
    ),
    "gatys_pytorch": Preset(
        GATYS_PYTORCH,
        "Gatys' notebook leongatys/PytorchNeuralStyleTransfer",
        "the authors' own program: two large scales, 700 evaluations",
    ),
}


# Names the weights to use where nothing else does.
WEIGHTS_VARIABLE = "NST_TF_WEIGHTS"


def get(name: str, **changes: object) -> config.Config:
    """Returns the preset's config with some fields replaced, as `config.override` does.

    The environment variable `NST_TF_WEIGHTS` stands in for `weights` where that is not given.

    Raises:
        InputError: There is no such preset or field, or a value is not allowed.
    """
    if name not in PRESETS:
        raise errors.unknown_name("preset", name, PRESETS)
    if weights := os.environ.get(WEIGHTS_VARIABLE):
        changes = {"weights": weights} | changes
    return config.override(PRESETS[name].config, changes)
