"""What watches a run, and what is written beside its picture. Open `callback.py` first: the protocol."""
