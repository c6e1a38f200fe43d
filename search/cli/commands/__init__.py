"""The commands, by what they are about; ``search/cli/main.py`` lists them."""
