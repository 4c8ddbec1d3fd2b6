"""What `reconstruct_layers.py` is made of: the reconstructions of one picture, planned, painted, laid out."""
