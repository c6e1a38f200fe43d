"""What becomes of trials: which go on, which are measured again or tested, when all end."""
