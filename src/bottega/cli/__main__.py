"""`python -m bottega.cli`."""

import sys

from bottega.cli.main import main

sys.exit(main())
