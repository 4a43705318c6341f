# SPDX-License-Identifier: AGPL-3.0-or-later
"""The command lines of the scripts in a fork, whatever the upstream. Imports everything below."""
