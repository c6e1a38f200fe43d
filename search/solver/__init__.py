"""From scores that were measured once to a plan for any budget."""
