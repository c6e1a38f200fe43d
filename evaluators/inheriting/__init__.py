"""Plans that start from trained weights in place of fresh ones."""
