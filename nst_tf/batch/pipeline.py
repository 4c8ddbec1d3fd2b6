"""A step of a Ray Data pipeline of one's own: a column of photographs -> a column of pictures."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nst_tf import errors, runtime
from nst_tf.batch import storage
from nst_tf.config.config import Config
from nst_tf.io import pictures


class Stylize:
    """A callable class for `ray.data.Dataset.map_batches`, whose actors paint many pictures each.

    For example `data.map_batches(nst_tf.batch.Stylize, fn_constructor_args=["painting.jpg"], batch_size=1,
    fn_constructor_kwargs={"size": 256}, num_cpus=2, compute=ray.data.ActorPoolStrategy(size=4))`.
    """

    def __init__(
        self,
        style: pictures.Picture | Sequence[pictures.Picture],
        *,
        content: str = "image",
        output: str = "stylized",
        threads: int = 0,
        preset: str | Config = "default",
        **overrides: Any,
    ) -> None:
        """Sets the process up.

        Args:
            style: The painting, or a list of several, as for `nst_tf.stylize`.
            content: The column of photographs: paths, URLs, bytes of picture files, or arrays [H, W, 3].
            output: The column to add, of arrays [H, W, 3] uint8. Beside it, `{output}_failure` says why a
                picture could not be painted, which then is an array [0, 0, 3].
            threads: That an operation of TensorFlow's may use; 0 for as many as the actor has CPUs.
            preset: The formulation by name, or a config.
            **overrides: Settings to replace, as for `nst_tf.stylize`.
        """
        threads = threads or int(os.environ.get("OMP_NUM_THREADS", "0"))  # which Ray sets to an actor's CPUs
        if threads:
            os.environ["TF_NUM_INTRAOP_THREADS"] = str(threads)
        runtime.prepare_process()
        self._style, self._content, self._output = style, content, output
        self._settings: dict[str, Any] = {"preset": preset, **overrides}

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Returns a batch with the pictures of its photographs."""
        made = [self._painted(each) for each in batch[self._content]]
        column = np.empty(len(made), dtype=object)  # pictures of different sizes
        for index, (picture, _) in enumerate(made):
            column[index] = picture
        failures = np.array([failure for _, failure in made], dtype=object)
        return {**batch, self._output: column, f"{self._output}_failure": failures}

    def _painted(self, content: Any) -> tuple[np.ndarray, str]:
        """Returns a picture and, if it could not be painted, why."""
        with runtime.quiet(), runtime.tensorflow_backend():
            from nst_tf import api

        try:
            if isinstance(content, str):
                content = storage.picture(storage.absolute(content, "content"), "content")
            result = api.stylize(content, self._style, **self._settings)
        except errors.InputError as error:
            return np.zeros([0, 0, 3], np.uint8), errors.one_line(error)
        return pictures.to_uint8(result.image), ""
