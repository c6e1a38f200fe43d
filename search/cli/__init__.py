"""The command line: options, completion, progress, and what is printed."""
