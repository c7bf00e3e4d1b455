"""`python -m droidft` is `droidft`."""

import sys

from droidft.cli import main

if __name__ == "__main__":
    sys.exit(main())
