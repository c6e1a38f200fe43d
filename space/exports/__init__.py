"""Files that other runtimes load. One more format is one file here and one row in FORMATS."""
