# SPDX-License-Identifier: AGPL-3.0-or-later
"""What checkpoints of ultralytics are made of, from 8.0's to today's: see `pruning.checkpoint.allowed.Rules`."""

from __future__ import annotations

from torchvision.transforms import InterpolationMode, transforms  # noqa: F401 - where a classifier's are looked up
from ultralytics.data import augment  # noqa: F401 - likewise
from ultralytics.pruning.checkpoint.allowed import Rules
from ultralytics.utils import IterableSimpleNamespace, loss, tal  # noqa: F401 - where a file's losses are looked up

from .adopt import StandIn


class OldLoss:
    """The loss of an early 8.0, which lay in its trainers' files; a network makes its own again."""


# Upstream's own list of renamed modules (`torch_safe_load`), and what lies in them under another name.
_RENAMED = {
    "ultralytics.yolo.utils": "ultralytics.utils",
    "ultralytics.yolo.data.augment": "ultralytics.data.augment",
    "ultralytics.nn.modules.block.Silence": "torch.nn.modules.linear.Identity",
    "ultralytics.nn.tasks.YOLOv10DetectionModel": "ultralytics.nn.tasks.DetectionModel",
    "ultralytics.utils.loss.v10DetectLoss": "ultralytics.utils.loss.E2EDetectLoss",
}
_OLD_LOSSES = ("detect.train.Loss", "segment.train.SegLoss", "pose.train.PoseLoss", "classify.train.ClassificationLoss")
# What `classify_transforms` puts into a classifier; older releases had two of their own.
_OF_TORCHVISION = ("Compose", "Resize", "CenterCrop", "ToTensor", "Normalize")
_TRANSFORMS = [f"torchvision.transforms.transforms.{name}" for name in _OF_TORCHVISION]
_TRANSFORMS += [f"ultralytics.data.augment.{name}" for name in ("ClassifyLetterBox", "CenterCrop", "ToTensor")]

RULES = Rules(
    packages=("ultralytics.nn", "ultralytics.utils.tal", "ultralytics.utils.loss", "ultralytics.models.utils"),
    whole=("ultralytics.utils.loss", *_TRANSFORMS),
    never=(  # open files, start runtimes or download when they are made or used
        "ultralytics.nn.autobackend",
        "ultralytics.nn.backends",
        "ultralytics.nn.text_model",
        "ultralytics.nn.modules.block.TorchVision",
    ),
    renamed=_RENAMED,
    exact={
        "torchvision.transforms.functional.InterpolationMode": InterpolationMode,
        "ultralytics.utils.IterableSimpleNamespace": IterableSimpleNamespace,
        "ultralytics.yolo.utils.IterableSimpleNamespace": IterableSimpleNamespace,
        **{f"ultralytics.yolo.v8.{name}": OldLoss for name in _OLD_LOSSES},
    },
    stand_ins=(StandIn,),
)
