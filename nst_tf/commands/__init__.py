"""What a person types: flags in, files and exit codes out. Open `main.py` first: the front end."""
