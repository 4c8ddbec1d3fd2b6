"""What this process and this machine can do: the Keras backend, the processor's number formats.

Imports neither TensorFlow nor Keras when it is itself imported.
"""

import contextlib
import ctypes
import functools
import importlib.metadata
import json
import os
import pathlib
import platform
import sys
import tempfile
from collections.abc import Iterable, Iterator

from nst_tf import errors

# Processor flags (Linux' names) of the instructions that multiply bfloat16 numbers directly. Without
# one of them bfloat16 is emulated and can be slower than float32.
_BFLOAT16_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})

# Those of which TensorFlow asks for one before it computes convolutions by oneDNN unasked ("CPUs with neural
# network features" in its tensorflow/core/util), in Linux' names.
_NETWORK_FLAGS = frozenset({"avx512_vnni", "avx512_bf16", "avx_vnni", "amx_tile", "amx_int8", "amx_bf16"})

# What TensorFlow is told by whether to compute by oneDNN where it does not ask the processor, and the flag of
# the least instructions that oneDNN is worth it with.
_ONEDNN_VARIABLE, _AVX2 = "TF_ENABLE_ONEDNN_OPTS", "avx2"

# Options of glibc's mallopt(3). To keep: one arena for all threads, whose free top is never given back, and
# no blocks of their own for large requests; -1 is no threshold, where 2 GB, the largest int, made a step at
# 2048 pixels take 54 s instead of 28 (two cores, AVX2). To give back: what glibc's defaults grow to in a
# process that frees large blocks.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -3, -4, -8
_KEEPING = ((_M_ARENA_MAX, 1), (_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1))
_GIVING_BACK = ((_M_MMAP_MAX, 2**16), (_M_MMAP_THRESHOLD, 2**25), (_M_TRIM_THRESHOLD, 2**26))

# Where Keras looks for its backend.
_BACKEND_VARIABLE = "KERAS_BACKEND"

# NVIDIA's first compute capability with bfloat16 tensor cores (Ampere).
_BFLOAT16_COMPUTE_CAPABILITY = (8, 0)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps libraries' own notes off the terminal; shows them if a defect ends the block.

    TensorFlow's start-up notes heed no log level where they are written before its log is set up, nor do
    libtiff's about a damaged file.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as notes:
        os.dup2(notes.fileno(), 2)
        try:
            yield
        except errors.InputError:
            raise  # whose one line says all
        except BaseException:
            notes.seek(0)
            os.write(terminal, notes.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)


def check_process() -> None:
    """Checks that TensorFlow can paint as this process has it.

    In a process forked from one that has used TensorFlow, TensorFlow waits for ever: the child has the locks,
    but not the threads that hold them.

    Raises:
        InputError: The process was forked from such a one, or TensorFlow is in a state in which it cannot.
    """
    global _used_in
    if _used_in is None:
        _used_in = os.getpid()
    if _used_in != os.getpid() or _has_lost_threads():
        raise errors.InputError(
            "process: it was forked from one that had used TensorFlow, which would wait for ever in it;"
            " start processes by 'spawn': multiprocessing.get_context('spawn')"
        )
    _check_tensorflow()
    _check_keras()


def _has_lost_threads() -> bool:
    """Returns whether TensorFlow has been used but this process has one thread only, as a forked one has.

    Of TensorFlow's own use, not through this package. Only Linux counts threads where this looks.
    """
    context = sys.modules.get("tensorflow.python.eager.context")
    is_used = getattr(getattr(context, "_context", None), "_initialized", False)
    try:
        return bool(is_used) and len(os.listdir("/proc/self/task")) == 1
    except OSError:
        return False


# The process in which this package used TensorFlow first.
_used_in: int | None = None


def _check_tensorflow() -> None:
    """Checks that TensorFlow is in no state that a run fails in, or paints another picture in.

    States that TensorFlow tells nobody of are found by what they do to small sums.

    Raises:
        InputError: It is in such a state.
    """
    import tensorflow as tf

    if tf.inside_function():
        raise errors.InputError("TensorFlow: a run inside a tf.function; call it outside of one")
    if not tf.executing_eagerly():
        raise errors.InputError(
            "TensorFlow: eager execution is off; paint outside of tf.Graph's as_default(), in a process"
            " without tf.compat.v1.disable_eager_execution() and disable_v2_behavior()"
        )
    if not isinstance(tf.TensorShape([1])[0], int):
        raise errors.InputError(
            "TensorFlow: shapes are those of version 1; leave tf.compat.v1.disable_v2_tensorshape() and"
            " disable_v2_behavior() out"
        )
    if tf.distribute.has_strategy():
        raise errors.InputError("TensorFlow: a run inside a tf.distribute strategy; call it outside of one")
    try:
        one = tf.constant(1.0) + 0.0
    except (TypeError, ValueError, tf.errors.OpError) as error:
        raise errors.InputError(
            f"TensorFlow: nothing can be computed on the device chosen ({errors.one_line(error)}); paint"
            " outside of that tf.device"
        ) from None
    with contextlib.suppress(tf.errors.InvalidArgumentError):  # what it raises unless types are converted
        if (tf.constant(1) + one).dtype == tf.float32:
            raise errors.InputError(
                "TensorFlow: it converts types by itself; leave dtype_conversion_mode out of"
                " enable_numpy_behavior()"
            )
    with tf.GradientTape() as tape:
        tape.watch(one)
        squared = one * one
    if tape.gradient(squared, one) is None:
        raise errors.InputError("TensorFlow: a run inside a tf.init_scope; call it outside of one")
    mixed = [
        name for name, on in tf.config.optimizer.get_experimental_options().items() if on and "mixed" in name
    ]
    if mixed:
        raise errors.InputError(
            f"TensorFlow: its optimiser computes in types of its own ({', '.join(mixed)}); leave that out of"
            " tf.config.optimizer.set_experimental_options(), and choose by precision"
        )
    try:
        one / 0.0
    except tf.errors.InvalidArgumentError:
        raise errors.InputError(
            "TensorFlow: it stops at infinite numbers, which a run has on its way; call"
            " tf.debugging.disable_check_numerics() before it"
        ) from None


def _check_keras() -> None:
    """Checks that layers made now would compute as they do elsewhere.

    Raises:
        InputError: They would not.
    """
    import keras

    # A layer takes the scope over that it is made in, and Keras says it nowhere else.
    if getattr(keras.layers.Layer(name="probe"), "_remat_mode", None) is not None:
        raise errors.InputError("Keras: a run inside a keras.RematScope; call it outside of one")


def prepare_memory() -> None:
    """Makes this process treat memory as a command should; call it before TensorFlow is loaded."""
    take_gpu_memory_as_needed()
    keep_freed_memory()


def prepare_process() -> None:
    """Prepares a process that does nothing but paint: `prepare_memory` and `use_onednn`."""
    prepare_memory()
    use_onednn()


def use_onednn() -> None:
    """Has TensorFlow compute by oneDNN also on a processor with AVX2 alone, where it does not unasked.

    There its products of matrices, and with them convolutions by Winograd, are a third to a half faster:
    a step of gatys_pytorch took 0.71 to 0.84 times as long at 128, 256 and 512 pixels (two cores, float32,
    two runs of each in turn). What a person has set stays. For a process that paints: it changes how all of
    it rounds, and Keras' own convolutions, those of --convolution=direct, are slower by it, without an end in
    sight where a picture is 1024 pixels wide. Does nothing once TensorFlow is loaded.
    """
    if "tensorflow" not in sys.modules and _AVX2 in _processor_flags():
        os.environ.setdefault(_ONEDNN_VARIABLE, "1")


def uses_onednn() -> bool:
    """Returns whether TensorFlow computes by oneDNN, by its rule: as it is told, else by the processor."""
    told = os.environ.get(_ONEDNN_VARIABLE)
    return has_network_instructions() if told is None else told.lower() in ("1", "true")


def keep_freed_memory() -> bool:
    """Has this process keep the memory it frees, for what it allocates next; returns whether it does now.

    glibc gives large blocks back to Linux at once, which hands pages out again one by one and zeroed:
    425,000 page faults in each step at 512 pixels, a quarter of its time (two cores, float32). Peak memory
    grows, by half at 1024 and by 0.6 at 2048 pixels. For a process that does nothing else; call it
    before TensorFlow starts its threads.
    """
    global _keeps_freed_memory
    _keeps_freed_memory = platform.libc_ver()[0] == "glibc" and _set_malloc(_KEEPING)
    return _keeps_freed_memory


def give_back_freed_memory() -> None:
    """Ends what `keep_freed_memory` began, if it did: where memory is short."""
    global _keeps_freed_memory
    if _keeps_freed_memory:
        _set_malloc(_GIVING_BACK)
        _keeps_freed_memory = False


# Of this process.
_keeps_freed_memory = False


def _set_malloc(options: Iterable[tuple[int, int]]) -> bool:
    """Sets options of glibc's allocator, in their order; returns whether it took them all."""
    libc = ctypes.CDLL(None)
    return all(libc.mallopt(option, value) == 1 for option, value in options)


def take_gpu_memory_as_needed() -> None:
    """Has TensorFlow take a GPU's memory as it needs it, and not nearly all of it from the start.

    So a screen, or another program, has the rest. Call it before TensorFlow is loaded. What a person has set
    stays.
    """
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")


def install(extra: str) -> str:
    """Returns what to type to install the libraries of an extra: this package is in no index."""
    checkout = pathlib.Path(__file__).parents[1]
    if (checkout / "setup.cfg").is_file():
        return f"pip install '.[{extra}]' in {checkout}"
    try:
        # Where pip has it from: a file, a repository.
        origin = importlib.metadata.distribution("nst_tf").read_text("direct_url.json")
        record = json.loads(origin or "{}")
    except (importlib.metadata.PackageNotFoundError, ValueError):
        record = {}
    version_control = record.get("vcs_info", {}).get("vcs", "")
    url = f"{version_control}+{record['url']}" if version_control else record.get("url", "")
    return f"pip install 'nst_tf[{extra}] @ {url}'" if url else f"pip install 'nst_tf[{extra}]'"


@contextlib.contextmanager
def tensorflow_backend() -> Iterator[None]:
    """Has what is imported inside load Keras on TensorFlow, as `use_tensorflow_backend` does for a process.

    Keras reads the environment when it is first imported, and only then: afterwards the environment is as it
    was.

    Raises:
        InputError: As for `use_tensorflow_backend`.
    """
    before = os.environ.get(_BACKEND_VARIABLE)
    try:
        use_tensorflow_backend()
        yield
    finally:
        if before is None:
            os.environ.pop(_BACKEND_VARIABLE, None)


def use_tensorflow_backend() -> None:
    """Makes Keras run on TensorFlow in a process that does nothing else; call it before Keras is imported.

    A `backend` entry in the user's `keras.json` is overridden for this process; an explicit
    `KERAS_BACKEND` is a decision of the user's and is not.

    Raises:
        InputError: `KERAS_BACKEND` names another backend, or Keras already runs on another.
    """
    chosen = os.environ.setdefault(_BACKEND_VARIABLE, "tensorflow")
    loaded = sys.modules.get("keras")
    running = loaded.backend.backend() if loaded is not None else chosen
    for backend in (chosen, running):
        if backend != "tensorflow":
            raise errors.InputError(
                f"Keras backend: {backend!r}; nst_tf runs on 'tensorflow' only: unset KERAS_BACKEND"
                " or set KERAS_BACKEND=tensorflow before Keras is imported"
            )


def resolve_precision(precision: str) -> str:
    """Returns "float32" or "bfloat16" for a precision that may be "auto".

    The rule of "auto": bfloat16 if TensorFlow sees a GPU and every GPU has compute capability 8.0 or
    higher; without a GPU, bfloat16 if the processor reports AVX512-BF16 or AMX-BF16; otherwise
    float32. Only the convolutions use it: statistics, losses and pixels are always float32.
    """
    if precision != "auto":
        return precision
    gpus = _gpu_compute_capabilities()
    if gpus:
        fast = all(capability >= _BFLOAT16_COMPUTE_CAPABILITY for capability in gpus)
    else:
        fast = has_bfloat16_instructions()
    return "bfloat16" if fast else "float32"


def has_gpu() -> bool:
    """Returns whether TensorFlow sees a GPU."""
    return bool(_gpu_compute_capabilities())


def has_bfloat16_instructions() -> bool:
    """Returns whether the processor multiplies bfloat16 numbers directly, as far as one can tell."""
    return bool(_BFLOAT16_FLAGS & _processor_flags())


def has_network_instructions() -> bool:
    """Returns whether the processor has instructions for networks, as far as one can tell: on Linux."""
    return bool(_NETWORK_FLAGS & _processor_flags())


@functools.cache  # which is asked for each size that is tried
def _processor_flags(cpuinfo: str = "/proc/cpuinfo") -> frozenset[str]:
    """Returns the processor's flags by Linux' names; none where there is no such file."""
    try:
        lines = pathlib.Path(cpuinfo).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    flags = next((line for line in lines if line.startswith("flags")), "")
    return frozenset(flags.partition(":")[2].split())


@functools.cache  # which is asked for each size that is tried, and asks every device
def gpu_memory_bytes() -> int | None:
    """Returns how much of the first GPU's memory TensorFlow may take; None where it sees no GPU."""
    import tensorflow as tf

    if not tf.config.list_physical_devices("GPU"):
        return None
    from tensorflow.python.client import device_lib  # nothing that is documented as public says so

    limits = [each.memory_limit for each in device_lib.list_local_devices() if each.device_type == "GPU"]
    return int(limits[0])


def gpu_memory_in_use() -> tuple[int, int] | None:
    """Returns how many bytes of the first GPU TensorFlow has in use, now and at most so far; None without."""
    if gpu_memory_bytes() is None:
        return None
    import tensorflow as tf

    info = tf.config.experimental.get_memory_info("GPU:0")
    return int(info["current"]), int(info["peak"])


def _gpu_compute_capabilities() -> list[tuple[int, int]]:
    """Returns the compute capability of every GPU TensorFlow sees; (0, 0) where it has none."""
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    return [detail.get("compute_capability") or (0, 0) for detail in details]
