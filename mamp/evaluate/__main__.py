"""``python -m mamp.evaluate PROTOCOL --weights NAME --data DIR --output DIR [--field VALUE ...]``."""

import sys

from mamp.evaluate.cli import main

if __name__ == "__main__":
    sys.exit(main())
