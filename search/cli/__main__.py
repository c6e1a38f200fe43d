"""``python -m isoshare.search.cli`` is the same as ``isoshare``."""

from isoshare.search.cli.main import main

main()
