"""One image or batch through a network: what takes part in it, how often, and what it needs."""
