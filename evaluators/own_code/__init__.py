"""A function of the user's own as the evaluator: its trial, its values, its way to workers."""
