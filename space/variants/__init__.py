"""Variants of a backbone: one choice of its own arguments each, and one space of plans over all."""
