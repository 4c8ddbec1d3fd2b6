"""Painting in a browser, on Gradio: `nst_tf page`. Read `layout.py` first.

A line of code here may touch the api, sweeps and the client of model servers; Gradio is imported by `layout` and
`server` alone, so that flags and tests of the rest need it not.
"""
