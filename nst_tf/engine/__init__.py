"""A run: from pictures, over scales and steps, to the result. Open `stylizer.py` first, then `loop.py`."""
