"""`python -m rowseal.cli`, where the script `rowseal` is not on the PATH."""

import sys

from rowseal.cli import main

sys.exit(main())
