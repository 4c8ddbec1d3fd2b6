"""The frozen VGG19 and its weights. Open `network.py` first: features of whole pictures or tile by tile."""
