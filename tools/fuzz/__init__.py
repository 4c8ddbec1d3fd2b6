"""Hostile inputs by number, and what the package's readers make of them; read `campaign.py` first."""
