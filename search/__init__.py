"""How to look: configuration, the ask/tell engine, samplers, drivers and results."""
