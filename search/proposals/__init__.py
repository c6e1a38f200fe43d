"""Which plan is next: what a sampler sees, who is asked, and what is recorded of it."""
