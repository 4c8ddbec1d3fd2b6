"""The project's own VGG19 features: `train.py` trains them, `compare.py` compares them with others."""
