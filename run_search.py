"""The door of the command line: ``python run_search.py`` is the same as ``isoshare``."""

import sys
from pathlib import Path

from isoshare.search.cli.main import main

if __name__ == "__main__":
    # The rooms of this folder come last, behind a user's own space.py or search.py.
    sys.path += [str(Path.cwd()), sys.path.pop(0)]
    main()
