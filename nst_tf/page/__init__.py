"""Painting in a browser, on Gradio: `nst_tf page`. Read `layout.py` first.

A line of code here may touch the api, sweeps and the client of model servers. `session`, `backends` and what
they use need no Gradio.
"""
