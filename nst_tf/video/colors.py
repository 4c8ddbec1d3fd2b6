"""The colours of a result, given to what has not been painted yet."""

import numpy as np

from nst_tf.video import flow

# Height and width at which colours are compared: strokes are smaller, and it is enough for twelve numbers.
_SIZE = (32, 32)


def recolored(picture: np.ndarray, seen: np.ndarray, painted: np.ndarray) -> np.ndarray:
    """Returns a frame in the colours of an earlier result, [H, W, 3] float32 in [0, 1].

    By the affine map of colours that comes closest to making that result of its frame (least squares).

    Args:
        picture: The frame, [H, W, 3] uint8.
        seen: The earlier frame, [h, w, 3] uint8.
        painted: Its result, [H, W, 3] floats in [0, 1].
    """
    given, wanted = _with_one(flow.shrunk(seen, _SIZE)), flow.shrunk(painted, _SIZE).astype(np.float64)
    # By `einsum`, whose sums are the same in every process; a film of one colour has more than one such map.
    products = np.einsum("hwi,hwj->ij", given, given)
    found = np.linalg.lstsq(products, np.einsum("hwi,hwj->ij", given, wanted), rcond=1e-9)[0]
    mapped = np.einsum("hwi,ij->hwj", _with_one(picture), found)
    return np.clip(mapped, 0.0, 1.0).astype(np.float32)


def _with_one(picture: np.ndarray) -> np.ndarray:
    """Returns a picture's colours in [0, 1] and a 1, [H, W, 4] float64."""
    return np.concatenate([picture / 255.0, np.ones_like(picture[..., :1], np.float64)], axis=-1)
