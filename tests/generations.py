# SPDX-License-Identifier: AGPL-3.0-or-later
"""Small networks with the rows of upstream's other generations and tasks, as `Workshop.small` takes them.

The published networks themselves are pruned in `engine/test_networks.py`.
"""

from workshop import SMALL

BACK, NECK, HEAD = "3, C2f, [256, True]", "3, C2f, [256]", "[[8, 5], 1, Detect, [nc]]"
POOL = "SPPF, [256, 5]"


def rows(**other: str) -> str:
    """SMALL with other rows in the places of these names."""
    text = SMALL
    for place, row in other.items():
        assert globals()[place] in SMALL
        text = text.replace(globals()[place], row)
    return text


ELEVEN = rows(BACK="2, C3k2, [256, True]", NECK="2, C3k2, [256, False, 0.25]", POOL="C2PSA, [256]")
TWELVE = rows(BACK="2, C3k2, [256, True]", NECK="2, A2C2f, [256, False, -1]", POOL="A2C2f, [256, True, 4]")
# Without the suppression of doubles, without distributions of distances.
TWENTYSIX = "end2end: True\nreg_max: 1\n" + rows(
    BACK="2, C3k2, [256, True]", NECK="1, C3k2, [256, True, 0.5, True]", POOL="SPPF, [256, 5, 3, True]"
)
TASKS = {  # as the digits need them
    "segment": ELEVEN.replace(HEAD, "[[8, 5], 1, Segment, [nc, 32, 64]]"),
    "pose": "kpt_shape: [4, 3]\n" + ELEVEN.replace(HEAD, "[[8, 5], 1, Pose, [nc, kpt_shape]]"),
    "obb": ELEVEN.replace(HEAD, "[[8, 5], 1, OBB, [nc, 1]]"),
    "classify": ELEVEN.replace(HEAD, "[-1, 1, Classify, [nc]]"),
}
