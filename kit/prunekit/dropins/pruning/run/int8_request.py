# SPDX-License-Identifier: AGPL-3.0-or-later
"""What quantify.py is asked for."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import PruneError
from ..family.ranges import check_numbers
from ..runtime.int8_graph import METHODS
from ..runtime.placement import PLACEMENTS

RUNTIMES = ("onnxruntime", "openvino")


@dataclass(frozen=True)
class Request:
    """What was asked for."""

    method: str = METHODS[0]
    images: int = 128
    max_map_drop: float = 0.02  # of the strict accuracy (mAP50-95), as in prune.py
    seven_bits: bool = False
    threads: int = 1
    runtime: str = "onnxruntime"  # what the file is made for, one of RUNTIMES
    placement: str = PLACEMENTS[0]  # of the INT8 layers, one of PLACEMENTS; ONNX Runtime, static

    def checked(self) -> Request:
        """This request, or PruneError naming the value that cannot be."""
        if not 0 <= self.max_map_drop <= 1:
            raise PruneError(f"--max-map-drop {self.max_map_drop}: must lie between 0 and 1 (of mAP50-95).")
        for flag, value, known in (("runtime", self.runtime, RUNTIMES), ("placement", self.placement, PLACEMENTS)):
            if value not in known:
                raise PruneError(f"--{flag} {value}: must be one of {', '.join(known)}.")
        if self.runtime == "openvino" and self.method != METHODS[0]:
            raise PruneError(f"--method {self.method}: OpenVINO has static INT8 only. Leave it out.")
        asked = {"calibration_images": self.images, "threads": self.threads}
        check_numbers(asked, dict.fromkeys(asked, 1))
        return self
