"""What draw_samples.py draws, in parts; `canvas` states the conventions."""
