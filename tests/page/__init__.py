"""Tests of `nst_tf.page`."""
