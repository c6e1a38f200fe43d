"""Trained weights: into networks, out of them, and into files."""
