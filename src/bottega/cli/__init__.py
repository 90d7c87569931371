"""The command line: one verb per job. A verb is imported when it is called, so that help needs no torch."""

from bottega.cli.main import main

__all__ = ["main"]
