"""What a run is: one frozen dataclass, checked at construction, complete.

A preset is a `Config`; `overrides.apply_overrides` replaces the fields that a user names; the result is
passed down whole. Allowed names stand here and not beside the functions they name, so that flags and
errors need no TensorFlow; a test compares them with the tables of those functions.
"""

import dataclasses

from nst_tf import errors
from nst_tf.config import fields
from nst_tf.config.fields import field

# Convolutions in each of VGG19's five blocks (arXiv:1409.1556, table 1, column E).
_CONVOLUTIONS = (2, 2, 4, 4, 4)

LAYERS = tuple(
    f"{kind}{block}_{index}"
    for block, count in enumerate(_CONVOLUTIONS, start=1)
    for index in range(1, count + 1)
    for kind in ("conv", "relu")
)
POOLING = ("max", "average", "average_rescaled", "l2")
PADDING = ("zeros", "replicate")
CONTENT_NORMALIZATION = ("mean", "sum", "half_sum", "quarter_mean", "half_root")
STYLE_NORMALIZATION = ("gatys2015", "gatys_pytorch", "sum", "mean", "udacity", "keras_example")
STYLE_STATISTICS = ("gram", "gram_mean_std", "wasserstein")
TOTAL_VARIATION = (
    "sum_absolute",
    "half_sum_squares",
    "sum_of_means_of_squares",
    "sum_power_1_25",
    "nine_point_squares",
)
INITS = ("content", "noise", "gray")
OPTIMIZERS = ("lbfgs", "adam", "sgd", "momentum", "rmsprop")
# The learning rate of an optimiser that is chosen instead of a preset's own: a share for lbfgs, levels of
# 0..255 for adam and rmsprop (5 is what gave Adam its lowest losses in 150 steps), by the first gradient for
# the others.
LEARNING_RATES = {"lbfgs": 1.0, "adam": 5.0, "rmsprop": 2.0, "sgd": 0.0, "momentum": 0.0}
_FREE_RATES = ("sgd", "momentum")

PRECONDITIONERS = ("none", "inverse_sqrt_frequency")
PRECONDITIONED_SCALES = ("coarsest", "all")
OUTPUTS = ("last", "best", "average")
SIZE_SIDES = ("longest", "shortest", "height")
STYLE_SHAPES = ("own", "content")
PRECISIONS = ("auto", "float32", "bfloat16")
CONVOLUTIONS = ("auto", "direct", "winograd", "prepared")
TILES = ("auto", "off")
STYLE_BLENDS = ("losses", "targets")
OUTSIDES = ("keep", "free")
COLORS = ("style", "luminance", "statistics", "only")
WITHOUT_STEPS = ("only",)  # of these: nothing is optimised
COLOR_ROOTS = ("pca", "cholesky", "transport")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that decides the picture, beside the pictures that go in.

    Weights multiply losses as the named normalisations define them; pixels of the total variation and
    learning rates are on the scale 0..255 of the programs that published them, unless a field says
    otherwise.

    Raises:
        InputError: A value is not allowed.
    """

    preset: str
    content_layers: tuple[str, ...] = field("layers whose features are kept", LAYERS)
    content_weight: float = field("weight of the content loss; 0: no photograph, a texture")
    content_normalization: str = field("what multiplies the content loss", CONTENT_NORMALIZATION)
    style_layers: tuple[str, ...] = field("layers whose Gram matrices are matched", LAYERS)
    style_layer_weights: tuple[float, ...] = field("weight of each style layer, in their order")
    style_weight: float = field("weight of the style loss; 0: a reconstruction of the content")
    style_normalization: str = field("what multiplies the style loss", STYLE_NORMALIZATION)
    style_statistics: str = field(
        "what is matched: Gram matrices, these with channels' means and deviations, or Gaussians",
        STYLE_STATISTICS,
        default="gram",
    )
    moment_weight: float = field(
        "style_statistics=gram_mean_std: weight of means and deviations beside Gram matrices", default=1e4
    )
    total_variation: str = field("formula of the total variation", TOTAL_VARIATION)
    total_variation_weight: float = field("weight of the total variation")
    style_blend: str = field(
        "several styles: their losses are added, or their statistics averaged", STYLE_BLENDS, default="losses"
    )
    style_blend_weights: tuple[float, ...] = field(
        "several styles: one weight each, of which only the proportions count; equal unless given", default=()
    )
    style_scale: float = field("size of the style picture relative to the result: the strokes'", default=1.0)
    style_size: int = field(
        "longest side of the style picture in pixels, as compared with the result; 0: by style_scale",
        default=0,
    )
    outside: str = field(
        "where no style goes: the photograph's own pixels are kept, or left to the optimiser",
        OUTSIDES,
        default="keep",
    )
    guide_erosion: float = field(
        "regions: how far a layer's guide stays away from other regions, as a share of what a feature sees",
        # Chosen by looking (0, 0.1, 0.3 and 1 at 256 px): the larger, the wider a pale belt between regions
        # that no style reaches; with 0 each style's deepest features see the other's strokes.
        default=0.1,
    )
    feature_divisor: float = field("what the features are divided by before all losses", default=1.0)
    pooling: str = field("pooling in the network", POOLING)
    padding: str = field(
        "what the network sees beyond the picture: zeros, or its border again", PADDING, default="zeros"
    )
    normalize_activations: bool = field(
        "rescale the network: every filter's mean activation over content and style is 1", default=False
    )
    init: str = field("the image to start from, or a picture's path", INITS, beside="a file")
    noise_levels: float = field("init=noise: its standard deviation in levels of 0..255", default=32.0)
    optimizer: str = field("what updates the image", OPTIMIZERS)
    learning_rate: float = field(
        "step size; a share of the quasi-Newton step for lbfgs; 0 for sgd and momentum: by the first gradient"
    )
    rate_pixels: int = field(
        "sgd, momentum: pixels of the picture that learning_rate is meant for; 0: of any", default=0
    )
    history: int = field("pairs that lbfgs remembers", default=10)
    history_precision: str = field(
        "their type; auto: bfloat16, which takes half the memory, where float32 does not fit",
        PRECISIONS,
        default="auto",
    )
    preconditioner: str = field("filter on the steps of lbfgs", PRECONDITIONERS, default="none")
    preconditioned_scales: str = field(
        "where it acts: at the coarsest scale, or at all, where large shapes go on moving",
        PRECONDITIONED_SCALES,
        default="coarsest",
    )
    beta_1: float = field("adam: decay of the gradient's mean", default=0.9)
    beta_2: float = field("adam: decay of the gradient's mean square", default=0.999)
    carry_moments: bool = field("adam: take both on to the next scale, resized", default=False)
    rho: float = field("rmsprop: decay of the gradient's mean square", default=0.9)
    epsilon: float = field("adam and rmsprop: what keeps the division finite", default=1e-8)
    friction: float = field("momentum: share of the velocity that is kept", default=0.9)
    decay_rate: float = field("sgd, momentum: factor of the rate over decay_steps", default=1.0)
    decay_steps: int = field("sgd, momentum: steps over which the rate falls by decay_rate", default=1)
    clip: bool = field("keep the image within its range at every step, not only at the end", default=False)
    output_image: str = field(
        "the last image, the one of the lowest loss, or a scale's running average", OUTPUTS, default="last"
    )
    size: int = field("longest side of the result in pixels; 0 keeps the content's own size")
    size_side: str = field("which side of the result `size` is", SIZE_SIDES)
    aspect_ratio: float = field("width over height of the result; 0 keeps the content's own", default=0.0)
    style_shape: str = field(
        "the style picture keeps its own shape or is squashed to the content's", STYLE_SHAPES, default="own"
    )
    scales: tuple[float, ...] = field(
        "sizes from coarse to fine, as shares of the last, which is 1", default=(1.0,)
    )
    min_scale: int = field(
        "pixels of the coarsest scale, whatever the size; 0: as scales says, by which the others are spread",
        default=0,
    )
    scale_detail: float = field(
        "share of what the photograph shows only at a larger scale that joins the picture as it moves there;"
        " 0: it is enlarged only",
        default=0.0,
    )
    steps: tuple[int, ...] = field(
        "evaluations in all, split over the scales as in the preset; or one number for each scale"
    )
    weights: str = field(
        "VGG19 weights: auto, imagenet, builtin, random, or a .h5, .weights.h5 or .npz file", default="auto"
    )
    precision: str = field(
        "type of the convolutions; auto: bfloat16 where the processor has instructions for it",
        PRECISIONS,
        default="auto",
    )
    convolution: str = field(
        "how convolutions are computed: by the definition; by fewer multiplications, rounded differently;"
        " with kernels prepared once; auto: winograd for float32 on a processor, prepared for bfloat16",
        CONVOLUTIONS,
        default="auto",
    )
    tile: str = field(
        "side in pixels of the parts in which the network looks at a picture that does not fit into memory;"
        " auto: as large as fits, off where all of it does",
        TILES,
        beside="a number of pixels",
        default="auto",
    )
    seed: int = field("seed of everything random", default=0)
    color: str = field(
        "whose colours: the painting's; the photograph's, put back at the end or given to the painting first;"
        " or only the painting's colours on the photograph, no strokes",
        COLORS,
        default="style",
    )
    color_root: str = field(
        "color=statistics, only: the square root of covariances that colours are matched by",
        COLOR_ROOTS,
        default="pca",
    )

    def __post_init__(self) -> None:
        for each in dataclasses.fields(self):
            fields.check(each, getattr(self, each.name))
        for name in ("content_layers", "style_layers"):
            layers = getattr(self, name)
            errors.require(layers and len(set(layers)) == len(layers), name, layers, "one or more, each once")
        errors.require(
            len(self.style_layer_weights) == len(self.style_layers),
            "style_layer_weights",
            f"{len(self.style_layer_weights)} for {len(self.style_layers)} style layers",
            "one for each",
        )
        errors.require(
            len(self.steps) == len(self.scales) > 0 and self.scales[-1] == 1,
            "scales",
            f"{self.scales} with steps {self.steps}",
            "as many as steps, the last one 1",
        )
        errors.require(list(self.scales) == sorted(self.scales), "scales", self.scales, "coarse to fine")
        errors.require(
            self.content_weight > 0 or self.style_weight > 0,
            "content_weight and style_weight",
            "both 0",
            "at least one above 0",
        )
        for name in ("history", "feature_divisor", "decay_rate", "decay_steps"):
            errors.require(getattr(self, name) > 0, name, getattr(self, name), "above 0")
        errors.require(
            self.learning_rate > 0 or self.optimizer in _FREE_RATES,
            "learning_rate",
            self.learning_rate,
            f"above 0 for {self.optimizer}",
        )
        for name in ("beta_1", "beta_2", "friction", "rho"):
            errors.require(getattr(self, name) < 1, name, getattr(self, name), "below 1")
        errors.require(self.style_scale > 0, "style_scale", self.style_scale, "above 0")
        errors.require(
            self.style_scale == 1 or not self.style_size,
            "style_scale and style_size",
            f"{self.style_scale} and {self.style_size}",
            "one of them: both say how large the style picture is",
        )
        errors.require(
            not self.style_blend_weights or sum(self.style_blend_weights) > 0,
            "style_blend_weights",
            self.style_blend_weights,
            "at least one above 0",
        )
        errors.require(sum(self.steps) > 0, "steps", sum(self.steps), "at least 1")

    def used_layers(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Returns the content layers and the style layers that have any weight."""
        content = self.content_layers if self.content_weight else ()
        return content, self.style_layers if self.style_weight else ()

    def blend_weights(self, count: int) -> tuple[float, ...]:
        """Returns the weight of each of `count` style pictures: equal ones unless the config has some.

        Raises:
            InputError: The config has another number of them.
        """
        weights = self.style_blend_weights
        errors.require(
            not weights or len(weights) == count,
            "style_blend_weights",
            f"{len(weights)} for {count} style pictures",
            "one for each",
        )
        return weights or (1.0,) * count

    def pairs_precision(self) -> str:
        """Returns the type of L-BFGS' pairs: float32, unless memory or a person has it otherwise."""
        return "float32" if self.history_precision == "auto" else self.history_precision

    def takes_steps(self) -> bool:
        """Returns whether anything is optimised; where not, no network is needed."""
        return self.color not in WITHOUT_STEPS
