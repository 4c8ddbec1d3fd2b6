"""`python -m nst_tf`."""

from nst_tf.commands import main

if __name__ == "__main__":
    main.run()
