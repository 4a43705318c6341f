# SPDX-License-Identifier: AGPL-3.0-or-later
"""What prunekit adds to ultralytics: the hooks that the patches call, and the adapter that the scripts use."""
