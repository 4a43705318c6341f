# SPDX-License-Identifier: AGPL-3.0-or-later
"""Upstream without the tables that it prints whenever it builds or fuses a network."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet() -> Iterator[None]:
    """Drop upstream's log lines below a warning, and what it prints."""
    loggers = [logging.getLogger(name) for name in ("models.yolo", "utils.torch_utils", "models.common")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
