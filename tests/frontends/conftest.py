"""Lets the front end tests import their oracles (tests/oracles) by plain name."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "oracles"))
