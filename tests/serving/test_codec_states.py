"""States as strings: there and back, and texts that would be dangerous to parse."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2

from nst_tf.serving import codec

TENSORS = [tf.reshape(tf.range(24.0), [1, 2, 4, 3]), tf.constant(float("inf")), tf.constant(7)]
OWNER = tf.constant("owner")


def _forged(tensors, texts):
    """Returns the strings of `texts` with the fingerprint that belongs to them."""
    del tensors
    return tf.stack([*texts, codec.fingerprint([OWNER, *texts])])


def _unpack(strings, owner=OWNER):
    return codec.parse(codec.unpack(strings, len(TENSORS), owner), TENSORS)


def test_there_and_back():
    for before, after in zip(TENSORS, _unpack(codec.pack(TENSORS, OWNER)), strict=True):
        assert before.dtype == after.dtype
        np.testing.assert_array_equal(before, after)


def test_fingerprints_tell_texts_and_their_borders_apart():
    texts = [["a", "b"], ["ab", ""], ["b", "a"], ["a", "b", ""], ["a"]]
    prints = {codec.fingerprint([tf.constant(t) for t in each]).numpy() for each in texts}
    assert len(prints) == len(texts)


def test_a_state_of_another_owner_is_refused():
    with pytest.raises(tf.errors.InvalidArgumentError, match="of another model, other pictures"):
        _unpack(codec.pack(TENSORS, OWNER), tf.constant("other"))


def _proto(**fields):
    return tf.constant(tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, **fields).SerializeToString())


def _huge(length):
    """Returns the text, `length` bytes long, of a tensor that asks for 40 GB filled with one number."""
    proto = tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, float_val=[1.0])
    for size in (1, 100_000, 100_000, 1):
        proto.tensor_shape.dim.add().size = size
    while len(proto.SerializeToString()) < length:
        proto.float_val.append(1.0)
    return tf.constant(proto.SerializeToString()[:length])


@pytest.mark.parametrize(
    ("index", "tensor"),
    [
        (0, tf.zeros([1, 2, 3, 3])),
        (0, tf.zeros([2, 1, 4, 3])),
        (0, tf.zeros([1, 2, 4, 3], tf.int32)),
        (0, tf.fill([1, 2, 4, 3], float("nan"))),
        (0, tf.fill([1, 2, 4, 3], float("inf"))),
        (1, tf.constant(float("nan"))),
        (1, tf.constant(7)),
        (2, tf.constant(-1)),
        (2, tf.constant(7.0)),
    ],
)
def test_a_forged_state_is_refused(index, tensor):
    texts = [tf.io.serialize_tensor(each) for each in TENSORS]
    texts[index] = tf.io.serialize_tensor(tensor)
    with pytest.raises(tf.errors.InvalidArgumentError, match="state_bytes"):
        _unpack(_forged(TENSORS, texts))


def test_a_text_that_asks_for_gigabytes_is_not_parsed():
    texts = [tf.io.serialize_tensor(each) for each in TENSORS]
    for text in (_huge(len(texts[0].numpy())), _proto(float_val=[1.0]), tf.constant("")):
        with pytest.raises(tf.errors.InvalidArgumentError, match="state_bytes"):
            _unpack(_forged(TENSORS, [text, *texts[1:]]))


def test_the_number_of_strings_is_checked():
    with pytest.raises(tf.errors.InvalidArgumentError, match="3 strings; allowed: the 4"):
        _unpack(codec.pack(TENSORS, OWNER)[:3])
