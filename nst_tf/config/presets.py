"""Presets: one config for each publication or program by name, the source beside every value.

Layer names: the texts write "conv4_2", but in Caffe and in torchvision the ReLU acts in place on that
very array, so what their programs compare is the rectified feature, relu4_2.

Units: this project's learning rates and total variation are in levels of 0..255. Programs whose network
sees RGB divided by its standard deviation (mean .226) have their features divided by 57.6 = 255 * .226,
since the weights here are Oxford's and a ReLU network is homogeneous but for its biases; their learning
rates are multiplied by it.
"""

import dataclasses
import os
from collections.abc import Mapping

from nst_tf import errors
from nst_tf.config import config, scales, settings
from nst_tf.config.overrides import apply_overrides

# The first convolution of each block, after the ReLU: Gatys et al. 2015 (arXiv:1508.06576), methods.
_S5 = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")

# What one unit of a picture divided by its standard deviation is in levels of 0..255.
_NORMALIZED = 57.6

# torch.optim.Adam's epsilon, in units of the gradient by normalised pixels.
_TORCH_EPSILON = 1e-8 / _NORMALIZED

GATYS2015 = config.Config.from_settings(
    "gatys2015",
    {
        "content_layers": ("relu4_2",),
        "content_weight": 1.0,
        "content_normalization": "half_sum",  # eq. 1
        "style_layers": _S5,
        "style_layer_weights": (0.2,) * 5,  # w_l = 1/5
        "style_weight": 1e3,  # the paper's ratio alpha/beta is 1e-3 or 1e-4
        "style_normalization": "gatys2015",  # eq. 4
        "total_variation": "sum_absolute",
        "total_variation_weight": 0.0,  # none in the paper
        "pooling": "average",
        "init": "noise",  # white noise; how strong the paper leaves open
        "optimizer": "lbfgs",
        "learning_rate": 1.0,
        "history": 20,  # open in the paper
        "size": 512,  # open in the paper
        "size_side": "longest",
        "steps": (500,),  # open in the paper; the loss hardly falls after
    },
)

GRAY_CANVAS = GATYS2015.replace(preset="gray_canvas", init="gray")

FIVE_CONTENT_LAYERS = GATYS2015.replace(
    preset="five_content_layers",
    content_layers=_S5,
    content_normalization="mean",
    style_layer_weights=(1.0,) * 5,
    style_weight=10.0,
    style_normalization="sum",  # S(DG) / (N^2 M^2)
    feature_divisor=_NORMALIZED,
    pooling="max",
    init="content",
    optimizer="adam",  # the text names no gradient method
    learning_rate=0.001 * _NORMALIZED,
    epsilon=_TORCH_EPSILON,
    steps=(6000,),
)

UDACITY = GATYS2015.replace(
    preset="udacity",
    content_normalization="mean",
    style_layer_weights=(1.0, 0.75, 0.2, 0.2, 0.2),
    style_weight=1e6,
    style_normalization="udacity",  # mean((DG)^2) / (N M)
    feature_divisor=_NORMALIZED,
    pooling="max",
    init="content",
    optimizer="adam",
    learning_rate=0.003 * _NORMALIZED,
    epsilon=_TORCH_EPSILON,
    size=400,
    size_side="shortest",
    style_shape="content",
    steps=(2000,),
)

ANHTU96 = GATYS2015.replace(
    preset="anhtu96",
    content_normalization="quarter_mean",  # S(DF) / (4 N M)
    style_weight=1e3,  # 1e4 for the stronger pictures
    feature_divisor=_NORMALIZED,
    pooling="max",
    init="content",
    optimizer="adam",
    learning_rate=0.1 * _NORMALIZED,
    epsilon=_TORCH_EPSILON,
    size=400,
    size_side="height",
    aspect_ratio=1.5,  # pictures are stretched to 400 x 600
    style_shape="content",
    steps=(500,),
)

GATYS_PYTORCH = GATYS2015.replace(
    preset="gatys_pytorch",
    content_normalization="mean",
    style_layer_weights=(1.0,) * 5,  # the notebook's 1e3 / N^2 is in the normalisation
    style_weight=1.0,
    style_normalization="gatys_pytorch",
    pooling="max",
    init="content",
    history=100,  # torch.optim.LBFGS' default
    size=800,  # the notebook's img_size_hr, of the short side as torchvision's Resize measures
    size_side="shortest",
    scales=(512 / 800, 1.0),  # img_size, img_size_hr
    steps=(500, 200),  # max_iter, max_iter_hr
)

JOHNSON = GATYS2015.replace(
    preset="johnson",
    content_weight=5.0,
    content_normalization="mean",
    style_layer_weights=(1.0,) * 5,  # summed, not divided by 5
    style_weight=100.0,
    style_normalization="mean",
    total_variation="half_sum_squares",  # the program adds its gradient only
    total_variation_weight=1e-3,
    pooling="max",
    noise_levels=0.001,
    history=100,
    steps=(1000,),
)

NEURAL_STYLE_PT = JOHNSON.replace(preset="neural_style_pt", total_variation="sum_absolute")

CYSMITH = GATYS2015.replace(
    preset="cysmith",
    content_layers=("conv4_2",),  # before the ReLU
    content_weight=5.0,
    content_normalization="half_root",  # S(DF) / (2 sqrt(N) sqrt(M))
    style_layer_weights=(0.2 / 5,) * 5,  # each 0.2, and the sum divided by the number of layers
    style_weight=1e4,
    total_variation_weight=1e-3,
    init="content",
    history=10,  # SciPy's L-BFGS-B, maxcor
    steps=(1000,),
)

ANISHATHALYE = GATYS2015.replace(
    preset="anishathalye",
    content_weight=5.0,
    content_normalization="mean",
    style_weight=500.0,
    style_normalization="mean",
    total_variation="sum_of_means_of_squares",
    total_variation_weight=100.0,
    pooling="max",
    noise_levels=0.256,
    optimizer="adam",
    learning_rate=10.0,
    output_image="best",
    steps=(1000,),
)

GORDICALEKSA = GATYS2015.replace(
    preset="gordicaleksa",
    content_weight=1e5,
    content_normalization="mean",
    style_weight=3e4,
    style_normalization="sum",  # S(D(G / (N M)))
    total_variation_weight=1.0,
    pooling="max",
    init="content",
    history=100,  # torch.optim.LBFGS' default
    size=400,
    size_side="height",
    steps=(1000,),
)

TF_TUTORIAL = GATYS2015.replace(
    preset="tf_tutorial",
    content_layers=("relu5_2",),
    content_weight=1e4,
    content_normalization="mean",
    style_weight=1e-2,
    style_normalization="sum",  # mean((D(G/M))^2)
    total_variation_weight=30 / 255,  # 30 on an image of [0, 1]
    pooling="max",
    init="content",
    optimizer="adam",
    learning_rate=0.02 * 255,
    beta_1=0.99,
    epsilon=0.1 / 255,
    clip=True,
    steps=(1000,),  # 10 epochs of 100
)

KERAS_EXAMPLE = GATYS2015.replace(
    preset="keras_example",
    content_layers=("relu5_2",),
    content_weight=2.5e-8,
    content_normalization="sum",
    style_weight=1e-6,
    style_normalization="keras_example",
    total_variation="sum_power_1_25",
    total_variation_weight=1e-6,
    pooling="max",
    init="content",
    optimizer="sgd",
    learning_rate=100.0,
    rate_pixels=400 * 533,  # its own 400 rows of a 4:3 picture: the gradient falls as the pixels grow
    decay_rate=0.96,
    decay_steps=100,
    size=400,
    size_side="height",
    style_shape="content",
    steps=(4000,),
)

CROWSONKB = GATYS2015.replace(
    preset="crowsonkb",
    content_weight=0.015,
    content_normalization="mean",
    style_layer_weights=tuple(weight / 341 for weight in (256.0, 64.0, 16.0, 4.0, 1.0)),  # of sum 1
    style_weight=1.0,
    style_statistics="wasserstein",
    style_blend="targets",  # it averages the first two moments of several styles
    feature_divisor=_NORMALIZED,
    total_variation="nine_point_squares",
    total_variation_weight=2 / 255**2,  # 2 on an image of [0, 1]
    pooling="max",
    padding="replicate",
    init="content",
    optimizer="adam",
    learning_rate=0.02 * 255,
    beta_2=0.99,
    carry_moments=True,
    epsilon=1e-8 / 255,  # torch.optim.Adam's, in units of the gradient by an image of [0, 1]
    clip=True,
    output_image="average",
    scales=(0.25, 0.5**1.5, 0.5, 0.5**0.5, 1.0),  # 128, 181, 256, 362, 512
    min_scale=128,
    steps=(1000, 500, 500, 500, 500),  # initial_iterations, iterations
)

SPST = GATYS_PYTORCH.replace(
    preset="spst",
    style_statistics="gram_mean_std",
    moment_weight=1e4,
    history=20,  # open; as in gatys2015
    # A pyramid of four, each twice as large. How large is open: the coarsest has 128 pixels, as the default's
    # and crowsonkb's.
    size=1024,
    size_side="longest",
    scales=(0.125, 0.25, 0.5, 1.0),
    steps=(600, 200, 66, 30),
)

# Kolkin and others 2022 and their program, nkolkin13/NeuralNeighborStyleTransfer. Nothing but neighbours: the
# photograph takes part through what is looked for.
NNST = GATYS2015.replace(
    preset="nnst",
    content_weight=0.0,
    style_layers=(),  # no Gram matrices
    style_layer_weights=(),
    style_weight=1.0,
    neighbor_weight=1.0,
    neighbor_content=0.75,  # --alpha
    style_rotations=True,  # without --no_flip
    # The program looks at all places, 65536 of a square painting at 512 px; the paper sets no number either.
    # With 16384 the cosines of what is found are 0.005 to 0.007 smaller than with all (two pairs at 512 px,
    # four layers), and the banks take 0.5 GB instead of 2.2.
    style_vectors=2**14,
    neighbor_split=True,  # its last pass
    pooling="max",
    init="content",  # its start is the photograph without the bands that scales after the first have
    optimizer="adam",
    learning_rate=2e-3 * 255,  # lr, on an image of [0, 1]
    # torch.optim.Adam's 1e-8, which divides moments corrected for their start: here 0.03 (first step) to 0.43
    # (200th) of it, in units of the gradient by an image of [0, 1].
    epsilon=1e-9 / 255,
    pyramid_levels=8,  # pyr_levs
    size=512,  # sz
    scales=(0.125, 0.25, 0.5, 1.0, 1.0),  # max_scls, and the last pass
    min_scale=64,
    steps=(200,) * 5,  # max_iter
    color="match",  # colorization.py, on unless --dont_colorize
)

# The formulation of GATYS_PYTORCH; what differs was chosen by looking at pictures (three photographs times
# three paintings at 512 px) and by the losses after a fixed number of evaluations.
GRAM = GATYS_PYTORCH.replace(
    preset="gram",
    # From a coarse start the style has a freer hand than from the photograph at full size: with 1 or 5
    # houses dissolved into the painting, with 20 they were there, with 50 they kept their windows.
    content_weight=50.0,
    # A quarter fewer evaluations to the same loss at 256 px, in a run of one scale, than without it.
    preconditioner="inverse_sqrt_frequency",
    clip=True,
    # 20 pairs lower the loss by 4 % after 150 evaluations and double the state; 100 pairs no further.
    history=10,
    size=512,
    size_side="longest",
    # Broad strokes are laid where the network sees far, at 128 px, and cost next to nothing there; at 128 px
    # whatever the size, so that a picture of any size has the same composition and the weights their meaning.
    scales=(0.25, 0.5, 1.0),
    min_scale=128,
    # With it 30 evaluations at 256 px reach what 40 do without, houses keep their windows and bridges their
    # cables (three picture pairs, seen); at 1024 px the last scale gets off its saddle at all (one pair).
    scale_detail=1.0,
    steps=(100, 80, 60),  # about 90 s on two cores with bfloat16 instructions
)


# The first convolution of the blocks whose features both terms of the default compare. The picture is as good
# as with the ten layers of Kolkin et al. 2022 (two pairs, seen), at a third of the cost.
_S4 = _S5[:4]

# Nearest neighbours (Kolkin et al. 2022, arXiv:2203.13215) with Gram matrices beside them, which bring back
# the swirls and waves that matching alone leaves out. What is not the paper's was chosen by looking at
# pictures of 512 pixels, five pairs of a photograph and a painting.
DEFAULT = GRAM.replace(
    preset="default",
    style_layers=_S4,
    # 6 in all: with 3 skies stay plain, with 10 faces become spirals and towers foam (13 pairs, seen).
    style_layer_weights=(1.5,) * 4,
    style_statistics="gram_relative",
    neighbor_weight=1.0,
    neighbor_layers=_S4,
    neighbor_content=0.75,  # the paper's
    # Neighbours keep the photograph's shapes. With 4 skies are calmer, with 20 the photograph's own colours
    # show (two pairs, seen).
    content_weight=1.0,
    # With it the content's weight is 1; at 20 its loss ends as large as the style's.
    style_weight=2e7,
    # From half of the photograph's detail skies get swirls and houses keep their windows; with all of it
    # skies stay plainer.
    detail_content_weight=2.0,
    # The preconditioner acts at the coarsest scale only, as in `GRAM`: beyond it it left a weave of 2 to 4
    # pixels, and a higher loss. Ten pairs of L-BFGS end at a loss that is less than 1 % above that of twenty.
    # From 64 pixels by factors of two: the paper's scales.
    scales=(0.125, 0.25, 0.5, 1.0),
    min_scale=64,
    # 40 reach a lower loss than the paper's first 100 by Adam (two scales of a pair). With 20 at the last
    # scale the weave of the network's gradient shows, with 30 it does not (a portrait).
    steps=(40, 40, 30, 30),
)

# Half the default's size with fewer steps: its composition and colours, since strokes are as large in a small
# picture as in a large one.
DRAFT = DEFAULT.replace(
    preset="draft",
    size=256,
    scales=(0.25, 0.5, 1.0),
    steps=(20, 12, 8),
)


# What replaces a preset of this project where the features are the package's own, with which neighbours make
# hard and grainy pictures.
_BUILTIN_FORMS = {
    "default": GRAM,
    "draft": GRAM.replace(size=DRAFT.scales.size, scales=(0.5, 1.0), steps=(40, 20)),
}


@dataclasses.dataclass(frozen=True)
class Preset:
    """A config with what a person wants to know before choosing it."""

    config: config.Config
    source: str
    character: str


# (formulation, source, character); a preset's name is its formulation's own.
_ALL = (
    (
        DEFAULT,
        "this project",
        "painted: every place like the painting's nearest, swirls and waves by Gram matrices",
    ),
    (DRAFT, "this project", "the default at 256 pixels in seconds, to try pictures and settings"),
    (
        GRAM,
        "this project",
        "Gram matrices alone: the photograph under the painting's texture",
    ),
    (
        FIVE_CONTENT_LAYERS,
        "text: content loss over five layers",
        "the photograph kept at five layers, 6000 small steps",
    ),
    (UDACITY, "text: Udacity's notebook", "many small steps, most weight on fine texture"),
    (ANHTU96, "text: anhtu96's program", "stretched to 3:2; quick"),
    (
        GATYS2015,
        "Gatys, Ecker, Bethge 2015, arXiv:1508.06576",
        "from white noise, average pooling",
    ),
    (
        GRAY_CANVAS,
        "text: digital image processing",
        "as gatys2015, from a blank grey canvas",
    ),
    (
        GATYS_PYTORCH,
        "leongatys/PytorchNeuralStyleTransfer",
        "the authors' own program: two large scales",
    ),
    (JOHNSON, "jcjohnson/neural-style", "the classic command line, from faint noise"),
    (
        NEURAL_STYLE_PT,
        "ProGamerGov/neural-style-pt",
        "as johnson, with absolute total variation",
    ),
    (CYSMITH, "cysmith/neural-style-tf", "average pooling, content before the ReLU"),
    (
        ANISHATHALYE,
        "anishathalye/neural-style",
        "strong total variation, Adam, best iterate",
    ),
    (
        GORDICALEKSA,
        "gordicaleksa/pytorch-neural-style-transfer",
        "much style: small pictures become the painting",
    ),
    (TF_TUTORIAL, "TensorFlow's tutorial", "what most people try first; deep content layer"),
    (KERAS_EXAMPLE, "keras.io's example", "plain gradient descent, 4000 steps"),
    (
        CROWSONKB,
        "crowsonkb/style-transfer-pytorch",
        "Wasserstein distance, five scales, averaged: rich and smooth, slow",
    ),
    (
        NNST,
        "Kolkin et al. 2022, arXiv:2203.13215",
        "nearest neighbours instead of Gram matrices: painted all over, slow",
    ),
    (SPST, "SPST", "means and deviations beside Gram matrices; four scales up to 1024"),
)

PRESETS: Mapping[str, Preset] = {entry[0].preset: Preset(*entry) for entry in _ALL}


def for_features(chosen: config.Config, weights: str) -> config.Config:
    """Returns the config to use with the features that a run has: Gram matrices alone with the built-in ones.

    Settings that differ from the preset's are kept, another total of steps too; weights of content and style
    as multiples of the preset's. A config with neighbours of its own stays as it is, like all other presets.

    Args:
        chosen: Of the run.
        weights: What its features are, a name from `settings.WEIGHTS` other than "auto", or a file.
    """
    if chosen.preset not in _BUILTIN_FORMS or weights != "builtin":
        return chosen
    preset = PRESETS[chosen.preset].config
    usual = preset.to_settings()
    own = {name: value for name, value in chosen.to_settings().items() if value != usual[name]}
    if own.keys() & {field.metadata["name"] for field in dataclasses.fields(settings.Neighbors)}:
        return chosen
    if total := sum(own.get("steps", ())):
        if total == sum(preset.scales.steps):  # split over other scales
            del own["steps"]
        elif "scales" not in own:
            own["steps"] = total
    form = _BUILTIN_FORMS[chosen.preset]
    for name, group in (("content_weight", "content"), ("style_weight", "style")):
        if name in own:
            own[name] *= getattr(form, group).weight / getattr(preset, group).weight
    beside_scales = {"min_scale": own.pop("min_scale", 0)} if "scales" in own else {}
    return apply_overrides(form, own).replace(**beside_scales)


def relative_cost(name: str) -> float:
    """Returns about how many times as long as the default a preset takes.

    That is the ratio of evaluated pixels, for a 4:3 picture.
    """

    def cost(chosen: config.Config) -> int:
        plan = scales.plan_scales(chosen, 3 * 256, 4 * 256)
        return sum(scale.height * scale.width * scale.num_steps for scale in plan)

    return cost(PRESETS[name].config) / cost(DEFAULT)


# Names the weights to use where nothing else does.
WEIGHTS_VARIABLE = "NST_TF_WEIGHTS"


def get(preset: str | config.Config, **overrides: object) -> config.Config:
    """Returns a preset's config with some settings replaced, as `overrides.apply_overrides` does.

    The environment variable `NST_TF_WEIGHTS` stands in for a preset's `weights` where they are not given.

    Args:
        preset: A name, or a config to start from.
        **overrides: {setting: value}.

    Raises:
        InputError: There is no such preset or setting, or a value is not allowed.
    """
    if isinstance(preset, config.Config):
        return apply_overrides(preset, overrides)
    if not isinstance(preset, str) or preset not in PRESETS:
        raise errors.unknown_name("preset", preset, PRESETS)
    if weights := os.environ.get(WEIGHTS_VARIABLE):
        overrides = {"weights": weights} | overrides
    return apply_overrides(PRESETS[preset].config, overrides)
