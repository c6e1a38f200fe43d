"""Searches by a function of the user's own: what search/study.py and ``--evaluator`` call."""
