"""What may be shared: plans, the sites of a network, and how a plan is applied to it."""
