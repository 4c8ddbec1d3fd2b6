"""A run as a SavedModel, and its client. Open `signatures.py` first: the requests that a server answers."""
