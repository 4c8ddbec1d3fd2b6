"""What `request_stylization.py` is made of: files that are checked early, a run in steps that is watched."""
