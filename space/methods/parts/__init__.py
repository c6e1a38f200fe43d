"""What methods put in the place of a site, or behind it."""
