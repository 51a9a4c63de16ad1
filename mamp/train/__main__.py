"""``python -m mamp.train RECIPE --data DIR --output DIR [--section.field VALUE ...]``."""

import sys

from mamp.train.cli import main

if __name__ == "__main__":
    sys.exit(main())
