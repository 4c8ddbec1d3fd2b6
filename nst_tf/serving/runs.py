"""A painter's functions, each traced once for all signatures, over one style picture or over several."""

from collections.abc import Callable

import tensorflow as tf

from nst_tf.config.settings import COLORS, WITHOUT_STEPS
from nst_tf.engine import color
from nst_tf.losses.values import Losses
from nst_tf.serving.requested import Settings, Styles, one_style
from nst_tf.serving.stateless import State, StatelessRun
from nst_tf.tensors import Tensor


class Run:
    """A painter's functions, each traced once for all signatures."""

    def __init__(self, runs: StatelessRun, chosen_color: str, decode: Callable[[Tensor], Tensor]) -> None:
        """Traces nothing yet.

        Args:
            runs: What to do.
            chosen_color: Of a run with one style, by name.
            decode: A style picture's bytes -> its image.
        """
        self._painter, self._color, self._decode = runs, chosen_color, decode
        self.blend = tf.function(self._blend, autograph=False)
        self.stylize = tf.function(self._stylize, autograph=False)
        self.start = tf.function(self._start, autograph=False)
        self.advance = tf.function(self._advance, autograph=False)
        self.blank = tf.function(self._blank, autograph=False)

    def num_state_tensors(self, content: Tensor, style: Tensor, settings: Settings) -> int:
        """Returns how many tensors the state of a run is made of."""
        return len(tf.nest.flatten(self.start(content, style, settings)[0]))

    def _stylize(self, content: Tensor, style: Tensor, settings: Settings) -> tuple[Tensor, Tensor]:
        state, _ = self.start(content, style, settings)
        _, picture, losses, _ = self.advance(content, style, settings, state, settings.num_steps)
        return picture, losses

    def _start(self, content: Tensor, style: Tensor, settings: Settings) -> tuple[State, Tensor]:
        styles = one_style(style, self._color)
        state = self._painter.start(content, styles, settings)
        return state, self._painter.picture(content, styles, settings, state)

    def _advance(
        self, content: Tensor, style: Tensor, settings: Settings, state: State, num_steps: Tensor
    ) -> tuple[State, Tensor, Tensor, Tensor]:
        styles = one_style(style, self._color)
        state, picture, losses = self._painter.advance(content, styles, settings, state, num_steps)
        return state, picture, losses, self._painter.steps_done(content, settings, state)

    def _blank(self, content: Tensor, style: Tensor, settings: Settings, scale_index: Tensor) -> State:
        return self._painter.blank(content, one_style(style, self._color), settings, scale_index)

    def _blend(
        self, content: Tensor, data: Tensor, weights: Tensor, color_index: Tensor, settings: Settings
    ) -> tuple[Tensor, Tensor]:
        """Returns the picture of several styles, as bytes, each with a weight, and its losses."""
        styles = Styles(
            tf.size(data),
            weights / tf.reduce_sum(weights),
            lambda index: self._decode(data[index]),
            color.switched(color_index),
        )

        def painted() -> tuple[Tensor, Tensor]:
            state = self._painter.start(content, styles, settings)
            return self._painter.advance(content, styles, settings, state, settings.num_steps)[1:]

        def recolored() -> tuple[Tensor, Tensor]:
            return self._painter.recolored(content, styles, settings), tf.zeros([len(Losses._fields)])

        without_steps = [index for index, name in enumerate(COLORS) if name in WITHOUT_STEPS]
        stepless = tf.reduce_any(tf.equal(color_index, tf.constant(without_steps)))
        return tf.cond(stepless, recolored, painted)
