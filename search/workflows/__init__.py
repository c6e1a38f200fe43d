"""What each command does, without a terminal and without HTTP."""
