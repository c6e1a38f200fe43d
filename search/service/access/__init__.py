"""Who gets in: addresses, tokens, what is refused before anything else, what is logged."""
