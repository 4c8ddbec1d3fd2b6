"""What `sweep.py` is made of: axes of values, pictures that are kept, the sheet."""
