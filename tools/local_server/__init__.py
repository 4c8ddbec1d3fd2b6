"""A local stand-in for TensorFlow Serving: read `server.py` first; of nst_tf it uses errors and runtime."""
