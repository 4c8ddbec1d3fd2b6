"""`python -m nst_tf`."""

from nst_tf import cli

if __name__ == "__main__":
    cli.run()
