"""How TensorFlow keeps a part of a graph to itself."""

import functools

import tensorflow as tf

# Makes a function of tensors one that is not put in line where it is called. What is called in several places
# is then traced, and its graph optimised, once. And its graph is free of the cycles of a loop that calls it:
# oneDNN's kernels are given out node by node, from inputs to outputs, which in a cycle are no order, so that
# most gradients of max pooling, which want the pooling dealt with first, were left with TensorFlow's own.
# These took 113 ms of a step at 512 pixels and take 23 (two cores with AVX2, float32).
apart = functools.partial(tf.function, autograph=False, experimental_attributes={"_noinline": True})
