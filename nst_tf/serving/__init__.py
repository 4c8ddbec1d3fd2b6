"""The run as a SavedModel, and its client. Open `signatures.py` first: what a server answers."""
