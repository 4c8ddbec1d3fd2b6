"""Gatys et al. in plain PyTorch: the formulas and the optimiser of the authors' notebook.

Written from the published algorithm: VGG19 with max pooling on BGR pixels of 0..255 less the means, content
loss MSE at relu4_2, style loss 1e3 / N^2 times the MSE of Gram matrices over pixels at relu1_1 .. relu5_1,
torch.optim.LBFGS as it comes, from the photograph. The same formulation as nst_tf's preset gatys_pytorch.

Images are [1, 3, H, W] float32 sRGB in [0, 1], torch's layout.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional

# Mean B, G and R of ImageNet on the scale 0..255, which Oxford's weights expect to be subtracted.
_MEANS_BGR_255 = torch.tensor([103.939, 116.779, 123.68]).reshape(1, 3, 1, 1)

# Convolutions in the blocks of VGG19, of the fifth only the first is needed.
_CONVOLUTIONS = (2, 2, 4, 4, 1)
_CONTENT_LAYER, _STYLE_LAYERS = "conv4_2", ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")

# The notebook's 1e3 / N^2 of each style layer.
_STYLE_WEIGHT = 1e3

Arrays = Mapping[str, tuple[np.ndarray, np.ndarray]]  # {convolution: (kernel [3, 3, in, out], bias [out])}


class Gatys:
    """The objective of one photograph and one painting."""

    def __init__(
        self, arrays: Arrays, content: np.ndarray, style: np.ndarray, *, bfloat16: bool = False
    ) -> None:
        """Computes the targets.

        Args:
            arrays: VGG19's weights.
            content: The photograph, [1, H, W, 3] in [0, 1].
            style: The painting, likewise.
            bfloat16: Whether convolutions run under torch.autocast.
        """
        self._bfloat16 = bfloat16
        self._layers = [
            [
                (name, torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy()), torch.from_numpy(bias))
                for name in (f"conv{block}_{index}" for index in range(1, count + 1))
                for kernel, bias in [arrays[name]]
            ]
            for block, count in enumerate(_CONVOLUTIONS, start=1)
        ]
        with torch.no_grad():
            self._content = self._features(to_pixels(content))[_CONTENT_LAYER]
            painted = self._features(to_pixels(style))
            self._grams = {name: _gram(painted[name]) for name in _STYLE_LAYERS}

    def loss(self, pixels: torch.Tensor) -> torch.Tensor:
        """Returns the loss of pixels [1, 3, H, W] as `to_pixels` makes them."""
        features = self._features(pixels)
        content = functional.mse_loss(features[_CONTENT_LAYER].float(), self._content.float())
        style = [
            _STYLE_WEIGHT / len(gram) ** 2 * functional.mse_loss(_gram(features[name]), gram)
            for name, gram in self._grams.items()
        ]
        return content + torch.stack(style).sum()

    def _features(self, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Returns the features after each ReLU."""
        found, x = {}, pixels
        autocast = torch.autocast("cpu", torch.bfloat16) if self._bfloat16 else contextlib.nullcontext()
        with autocast:
            for number, block in enumerate(self._layers):
                x = functional.max_pool2d(x, 2) if number else x
                for name, kernel, bias in block:
                    found[name] = x = functional.relu(functional.conv2d(x, kernel, bias, padding=1))
        return found


def to_pixels(image: np.ndarray) -> torch.Tensor:
    """Returns an image [1, H, W, 3] in [0, 1] as BGR pixels of 0..255 less the means, [1, 3, H, W]."""
    bgr = torch.from_numpy(np.ascontiguousarray(image[..., ::-1].transpose(0, 3, 1, 2))) * 255.0
    return bgr - _MEANS_BGR_255


def to_image(pixels: torch.Tensor) -> np.ndarray:
    """Returns the image [1, H, W, 3] of pixels, which may leave [0, 1]: the optimiser knows no bounds."""
    bgr = (pixels.detach() + _MEANS_BGR_255) / 255.0
    return np.ascontiguousarray(bgr.numpy().transpose(0, 2, 3, 1)[..., ::-1])


def stepper(objective: Gatys, pixels: torch.Tensor) -> Callable[[], None]:
    """Returns a function that takes one step, which is one evaluation, of torch.optim.LBFGS as it comes."""
    image = pixels.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([image], max_iter=1, max_eval=1)

    return lambda: optimizer.step(lambda: _evaluate(objective, image))


def run(
    objective: Gatys, pixels: torch.Tensor, evaluations: Sequence[int], clock: Callable[[], float]
) -> list[tuple[float, np.ndarray]]:
    """Optimises as the notebook does, and notes the picture after some numbers of evaluations.

    Args:
        objective: What to minimise.
        pixels: Where to start.
        evaluations: After how many, ascending.
        clock: Returns the time in seconds.

    Returns:
        For each number the seconds since the start and the picture.
    """
    image = pixels.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([image])
    noted: list[tuple[float, np.ndarray]] = []
    done, start = 0, clock()

    def closure() -> Any:
        nonlocal done
        loss = _evaluate(objective, image)
        done += 1
        if done in evaluations:
            noted.append((clock() - start, to_image(image)))
        return loss

    while done < evaluations[-1]:
        optimizer.step(closure)
    return noted


def _evaluate(objective: Gatys, image: torch.Tensor) -> torch.Tensor:
    """Returns the loss of an image, whose gradient it leaves there, as torch's optimisers have it."""
    image.grad = None
    loss = objective.loss(image)
    loss.backward()
    return loss


def _gram(features: torch.Tensor) -> torch.Tensor:
    """Returns the Gram matrix of features [1, N, h, w] over pixels, [N, N]."""
    flat = features.float().flatten(2)[0]
    return flat @ flat.T / flat.shape[1]
