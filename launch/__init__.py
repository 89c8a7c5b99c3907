"""Runs the grids of `experiments`: `python -m launch.sweep`; see README.md."""
