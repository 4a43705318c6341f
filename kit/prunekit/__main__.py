# SPDX-License-Identifier: AGPL-3.0-or-later
"""`python -m prunekit`: the same as the console script."""

from prunekit.cli.main import main

if __name__ == "__main__":
    main()
