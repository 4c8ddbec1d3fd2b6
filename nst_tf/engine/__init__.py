"""The run: pictures, scales, steps, picture. Open `stylizer.py` first, then `loop.py`."""
