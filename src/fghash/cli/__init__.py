"""The command line: argv -> typed call; a name -> its class."""

from fghash.cli.entry import main

__all__ = ["main"]
