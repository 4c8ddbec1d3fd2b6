"""The loss of an image. Open `objective.py` first: targets, losses and gradient; then `terms.py`."""
