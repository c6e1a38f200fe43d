"""What runs evaluations: this process, Ray Tune, or a table that answers at once."""
