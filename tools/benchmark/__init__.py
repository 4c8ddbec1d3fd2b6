"""nst_tf measured beside other programs: `benchmark.py` is the command, `measuring.py` has its rows."""
