"""Files, pictures, masks and manifests, without TensorFlow. Open `inputs.py` first: what a run is given."""
