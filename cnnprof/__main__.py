"""``python -m cnnprof``."""

from cnnprof.cli.main import entry

entry()
