"""`python -m vnet`."""

import sys

from vnet.cli import main

sys.exit(main())
