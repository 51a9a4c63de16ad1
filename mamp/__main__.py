"""``python -m mamp``: the same as the command ``mamp``."""

import sys

from mamp.cli import main

if __name__ == "__main__":
    sys.exit(main())
