"""What a study found: the front in numbers, figures and files. No torch, no ray."""
