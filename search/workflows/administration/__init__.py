"""Whole studies and databases: archived, restored, deleted, upgraded."""
