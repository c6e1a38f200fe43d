"""A study as one page to send to a colleague."""
