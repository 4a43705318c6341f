# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the programs of this folder share, which run inside a fork."""

import contextlib
import io
from pathlib import Path


def hear(guarded, body):
    """Exit code of `body` behind the engine's `guarded`, and all that was said; nothing may have been run."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        code = guarded(body)
    assert not Path("owned").exists(), said.getvalue()
    return code, said.getvalue()
