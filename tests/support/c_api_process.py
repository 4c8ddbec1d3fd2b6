"""Runs an exported model through TensorFlow's C API, in the library of the installed package.

c_api_process.py MODEL CONTENT_TENSOR STYLE_TENSOR IMAGE_TENSOR FOLDER: reads content.npy and style.npy from
the folder, writes image.npy.
"""

import ctypes
import importlib.util
import pathlib
import sys

import numpy as np

_FLOAT = 1  # TF_FLOAT in tensorflow/c/tf_datatype.h


class Output(ctypes.Structure):
    """TF_Output."""

    _fields_ = (("operation", ctypes.c_void_p), ("index", ctypes.c_int))


def load_library():
    """Returns the C library, without importing the package that it lies in."""
    found = importlib.util.find_spec("tensorflow")
    assert found is not None
    assert found.origin is not None
    library = ctypes.CDLL(str(pathlib.Path(found.origin).parent / "libtensorflow_cc.so.2"))
    for name in (
        "TF_NewStatus",
        "TF_NewGraph",
        "TF_NewSessionOptions",
        "TF_LoadSessionFromSavedModel",
        "TF_GraphOperationByName",
        "TF_AllocateTensor",
        "TF_TensorData",
    ):
        getattr(library, name).restype = ctypes.c_void_p
    library.TF_Message.restype = ctypes.c_char_p
    library.TF_Dim.restype = ctypes.c_int64
    return library


def main(folder, content_name, style_name, image_name, files):
    """Loads the model, runs it once, writes the picture."""
    tf = load_library()
    status = ctypes.c_void_p(tf.TF_NewStatus())
    graph = ctypes.c_void_p(tf.TF_NewGraph())

    def check():
        assert tf.TF_GetCode(status) == 0, tf.TF_Message(status).decode()

    def output(name):
        operation, index = name.split(":")
        found = tf.TF_GraphOperationByName(graph, operation.encode())
        assert found, f"no operation {operation}"
        return Output(found, int(index))

    def tensor(array):
        shape = (ctypes.c_int64 * array.ndim)(*array.shape)
        made = ctypes.c_void_p(tf.TF_AllocateTensor(_FLOAT, shape, array.ndim, ctypes.c_size_t(array.nbytes)))
        ctypes.memmove(tf.TF_TensorData(made), array.ctypes.data, array.nbytes)
        return made

    tags = (ctypes.c_char_p * 1)(b"serve")
    options = ctypes.c_void_p(tf.TF_NewSessionOptions())
    session = ctypes.c_void_p(
        tf.TF_LoadSessionFromSavedModel(options, None, folder.encode(), tags, 1, graph, None, status)
    )
    check()
    arrays = [np.load(pathlib.Path(files) / f"{name}.npy") for name in ("content", "style")]
    inputs = (Output * 2)(output(content_name), output(style_name))
    values = (ctypes.c_void_p * 2)(*(tensor(array) for array in arrays))
    outputs, results = (Output * 1)(output(image_name)), (ctypes.c_void_p * 1)()
    tf.TF_SessionRun(session, None, inputs, values, 2, outputs, results, 1, None, 0, None, status)
    check()
    result = ctypes.c_void_p(results[0])
    shape = [tf.TF_Dim(result, axis) for axis in range(4)]
    image = np.empty(shape, np.float32)
    ctypes.memmove(image.ctypes.data, tf.TF_TensorData(result), image.nbytes)
    np.save(pathlib.Path(files) / "image.npy", image)


if __name__ == "__main__":
    main(*sys.argv[1:])
