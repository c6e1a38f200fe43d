"""``python -m isoshare`` is the same as ``isoshare``."""

import sys

from isoshare.search.cli.main import main

if __name__ == "__main__":
    sys.argv[0] = "python -m isoshare"  # as it is called in what it says
    main()
