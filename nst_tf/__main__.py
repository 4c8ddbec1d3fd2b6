"""`python -m nst_tf`."""

from nst_tf.commands import stylize

if __name__ == "__main__":
    stylize.run()
