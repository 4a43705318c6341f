# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a fork is made of: pins, manifests, and the bytes from git, a mirror or an sdist. Imports plain modules only."""
