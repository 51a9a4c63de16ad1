"""The command line: ``mamp COMMAND ...``; one module a command, listed in :mod:`mamp.cli.main`."""

from mamp.cli.main import main

__all__ = ["main"]
