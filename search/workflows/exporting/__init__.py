"""What is exported, in which format, and what that needs to be known."""
