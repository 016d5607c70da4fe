"""`python -m vnet.bench`."""

import sys

from vnet.bench import main

sys.exit(main())
