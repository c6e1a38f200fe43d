"""Studies as the service shows them: looked up, kept in memory, and how each one stands."""
