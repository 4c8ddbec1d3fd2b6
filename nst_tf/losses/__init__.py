"""What is minimised. Open `objective.py` first: targets of the pictures, losses and gradient of an image."""
