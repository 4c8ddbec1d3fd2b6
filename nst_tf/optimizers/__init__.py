"""Update rules for a picture. Open `rules.py` first: the contract, the first-order rules, L-BFGS by name."""
