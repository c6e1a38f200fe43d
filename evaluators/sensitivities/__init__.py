"""How much a network minds that a site changes, and what plans are worth by it."""
