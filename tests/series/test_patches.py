# SPDX-License-Identifier: AGPL-3.0-or-later
"""Each patch's behaviour, and that it is gone when the patch is taken out: the tests are shown to be able to fail."""

from __future__ import annotations

import pytest
from runner import SERIES, Compare

pytestmark = pytest.mark.upstream
AMP, BN_L1, STRUCTURE, FOREIGN, DECODING, CALLS = 1, 2, 3, 4, 5, 6
DENSE, PRUNED = 3_012_798, 759_638  # yolov8n with ten classes, and with every group halved


def test_amp_is_off_on_every_rank(compare: Compare) -> None:
    """Also on DDP ranks above 0, which never ask `check_amp`; one line says so."""
    (full,), (without,) = compare(AMP)
    assert full == {"rank -1": False, "rank 1": False, "lines": 1}
    assert without == {"rank -1": True, "rank 1": True, "lines": 0}


def test_penalty_moves_gamma_past_the_clip(compare: Compare) -> None:
    """At lr 1, one step moves by the clipped gradient (10 / sqrt 4) plus the penalty: 0.01 * 0.55 at epoch 5 of 10."""
    ((gamma, beta), _), (without, _) = compare(BN_L1)
    assert gamma == pytest.approx([5 + 0.0055, 5 - 0.0055], abs=2e-6)
    assert beta == pytest.approx([5 + 0.02, 5.0], abs=2e-6)
    assert [*without[0], *without[1]] == pytest.approx([5.0] * 4, abs=2e-6)


def test_strengths_travel_with_a_training(compare: Compare) -> None:
    """Into args.yaml and the checkpoint (so into resume and DDP children), and not into the next training."""
    (_, kept), (_, unknown) = compare(BN_L1)
    assert kept["file"] == ["sparsity: 0.25", "sparsity_beta: 0.5"]
    assert kept["checkpoint"] == [0.25, 0.5]
    assert kept["next training"] == 0.0
    assert "sparsity" in unknown and unknown.startswith("SyntaxError")


def test_pruned_yaml_builds_pruned_network(compare: Compare) -> None:
    """Widths and norm settings of the block are built; without the hooks the guard stops the build, as in stock."""
    full, without = compare(STRUCTURE)
    assert full == [PRUNED, [[0.002, 0.07]]]
    assert all(answer.startswith("KeyError") and "prunekit" in answer for answer in without)


def test_checkpoints_of_other_scripts(compare: Compare) -> None:
    """Blocks pickled as `__main__.C2f_v2` come out stock and compute the same; a file without a block keeps its shape.

    Without the patch the first does not load and the second silently goes dense.
    """
    (loaded, trained), (not_loaded, went_dense) = compare(FOREIGN)
    assert loaded["modules"] == ["torch", "ultralytics"] and loaded["left in __main__"] == []
    assert loaded["off"] < 1e-3  # pixels, at 64 px
    assert trained == {"before": PRUNED, "training": PRUNED, "after": PRUNED, "nc": 10}
    assert "C2f_v2" in not_loaded
    assert went_dense["training"] == DENSE


def test_onnx_files_decode_boxes_without_transposing(compare: Compare) -> None:
    """No softmax over an inner dimension is left in the file, which answers as upstream's own does."""
    (ours,), (upstreams,) = compare(DECODING)
    assert 0 < ours.pop("off") < 1e-5  # not 0: it is another file
    assert ours == {"inner softmaxes": 0, "changed": 0, "rounded": 0}
    assert upstreams == {"inner softmaxes": 1, "off": 0, "changed": 0, "rounded": 0}


def test_prune_is_a_method_and_a_mode(compare: Compare) -> None:
    """`YOLO.prune` and `yolo prune` get as far as prunekit's own refusals; `yolo help` names the mode."""
    (ours,), (upstreams,) = compare(CALLS)
    assert ours["method"] == "PruneError: unknown keyword 'target_mac'; did you mean target_macs?"
    assert ours["mode"] == 2 and ours["help"] == 0
    assert "did you mean --target-macs?" in ours["said"] and "yolo prune model=best.pt" in ours["upstream's help"]
    assert "PruneError" not in upstreams["method"] and upstreams["mode"] not in (0, 2)
    assert "yolo prune" not in upstreams["upstream's help"]


@pytest.mark.parametrize("upstream", sorted(folder.name for folder in SERIES.parent.iterdir() if folder.is_dir()))
def test_every_patch_says_what_why_and_when_to_retire(upstream: str) -> None:
    """The series file lists exactly the patches there are; each carries its header."""
    folder = SERIES.parent / upstream
    names = (folder / "series").read_text().split()
    assert sorted(names) == sorted(p.name for p in folder.glob("*.patch"))
    for name in names:
        header = (folder / name).read_text().partition("\ndiff --git")[0]
        assert all(f"\n{part}" in header for part in ("What: ", "Why: ", "Retire when: ")), name
