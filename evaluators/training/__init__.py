"""How a network is trained: the loop, batches, ensembles, checkpoints."""
