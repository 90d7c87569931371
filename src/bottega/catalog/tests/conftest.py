"""The test rooms."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "rooms"))

from workshop_fixture import workshop  # noqa: E402

__all__ = ["workshop"]
