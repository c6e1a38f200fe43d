"""A study as whoever has it in Python sees it: frames, cards, progress."""
