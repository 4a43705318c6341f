# SPDX-License-Identifier: AGPL-3.0-or-later
"""What this machine's processor does to integers."""

from __future__ import annotations

from functools import cache
from pathlib import Path

# x86 instructions that add products of 8-bit numbers in 32 bits; AVX2 alone adds pairs of them in 16, which saturate.
_EXACT = {"avx512_vnni", "avx_vnni", "avx_vnni_int8", "amx_int8"}


@cache
def saturates(listed: Path = Path("/proc/cpuinfo")) -> bool:
    """Do sums of 8-bit products saturate here? Linux tells it of x86; elsewhere it is taken that they do not."""
    try:
        lines = listed.read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    flags = next((set(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), None)
    return flags is not None and flags.isdisjoint(_EXACT)
