"""The door of the command line: ``python run_search.py`` is the same as ``isoshare``."""

from isoshare.search.cli.main import main

if __name__ == "__main__":
    main()
