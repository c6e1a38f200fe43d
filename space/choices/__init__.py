"""What the parts of a network may choose: methods with options, and who shares with whom."""
