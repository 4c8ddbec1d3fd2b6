"""Neural style transfer with TensorFlow and Keras.

`stylize` paints a photograph like a painting, `evaluate` gives the losses of a picture under a published
formulation, `Stylizer` is the run itself. Importing this package loads neither TensorFlow nor Keras: they
load when a name that needs them is first used.
"""

import importlib
import types
import typing

if typing.TYPE_CHECKING:
    from nst_tf.api import Result, evaluate, stylize
    from nst_tf.callbacks.animation import Animation
    from nst_tf.callbacks.callback import Callback
    from nst_tf.callbacks.figures import save_comparison, save_plot
    from nst_tf.callbacks.snapshots import Snapshots
    from nst_tf.callbacks.tensorboard import TensorBoard
    from nst_tf.config.config import Config
    from nst_tf.config.presets import get as get_config
    from nst_tf.engine.progress import Progress
    from nst_tf.engine.stylizer import Stylizer
    from nst_tf.errors import InputError
    from nst_tf.io.pictures import read as read_image
    from nst_tf.losses.values import Losses

__version__ = "0.1.0"

__all__ = [
    "Animation",
    "Callback",
    "Config",
    "InputError",
    "Losses",
    "Progress",
    "Result",
    "Snapshots",
    "Stylizer",
    "TensorBoard",
    "evaluate",
    "get_config",
    "read_image",
    "save_comparison",
    "save_plot",
    "stylize",
]

# Where each public name lives: (module, name there).
_HOMES = {
    "Animation": ("callbacks.animation", "Animation"),
    "Callback": ("callbacks.callback", "Callback"),
    "Config": ("config.config", "Config"),
    "InputError": ("errors", "InputError"),
    "Losses": ("losses.values", "Losses"),
    "Progress": ("engine.progress", "Progress"),
    "Result": ("api", "Result"),
    "Snapshots": ("callbacks.snapshots", "Snapshots"),
    "Stylizer": ("engine.stylizer", "Stylizer"),
    "TensorBoard": ("callbacks.tensorboard", "TensorBoard"),
    "evaluate": ("api", "evaluate"),
    "get_config": ("config.presets", "get"),
    "read_image": ("io.pictures", "read"),
    "save_comparison": ("callbacks.figures", "save_comparison"),
    "save_plot": ("callbacks.figures", "save_plot"),
    "stylize": ("api", "stylize"),
}

# Modules that import neither TensorFlow nor Keras.
_LIGHT = frozenset({"config.config", "config.presets", "engine.progress", "errors", "losses.values"})


def __getattr__(name: str) -> object:
    """Imports a public name when it is first used (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _HOMES[name]
    value = getattr(_imported(module), attribute)
    globals()[name] = value
    return value


def _imported(module: str) -> types.ModuleType:
    path = f"{__name__}.{module}"
    if module in _LIGHT:
        return importlib.import_module(path)
    from nst_tf import runtime

    with runtime.tensorflow_backend():
        return importlib.import_module(path)


def __dir__() -> list[str]:
    return sorted(__all__)
