# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the engine asks of a model family: the one seam between it and an upstream.

An adapter is a plain object with these members. There is no base class: families share functions, not code by
inheritance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from ..network.surgery import SwapRule
from ..settings import Settings
from ..training.schedule import GIVEN, Schedule

Choose = Callable[[], Path]  # the folder of a run, by what is there at the moment
Network = Any  # an upstream's network or layer: to a checker each attribute of an nn.Module is a Tensor or a Module


@dataclass(frozen=True)
class Metrics:
    """Accuracy on the validation set, fractions in [0, 1].

    `map50` and `map50_95` are the task's own mean average precision (boxes for detect and obb, masks for segment,
    key points for pose). For classify they hold top-5 and top-1 accuracy, the loose and the strict measure; `labels`
    says so to whoever reads them.
    """

    map50: float
    map50_95: float
    labels: tuple[str, str] = ("mAP50", "mAP50-95")


@dataclass(frozen=True)
class Found:
    """An object that a network found: its name and confidence as text, and its outline in pixels, (x, y) by (x, y).

    The outline is empty for a class of the whole image.
    """

    label: str
    outline: Sequence[tuple[float, float]] = ()


NEXT_TO_NOTHING = 0.05  # of the loose accuracy: what an untrained network, or one of other data, comes to


def low_accuracy(found: Metrics, which: str = "the dense network", what: str = "pruning") -> str | None:
    """The warning for a network that scores next to nothing: accuracies after `what` would mean nothing."""
    loose, strict = found.labels
    if found.map50 >= NEXT_TO_NOTHING:
        return None
    return (
        f"WARNING: {which} scores next to nothing on this data: {loose} {found.map50:.6f}, {strict} "
        f"{found.map50_95:.6f}. Accuracies after {what} will say nothing. Is it the data it was trained on (--data), "
        "with the classes in the same order, and the image size (--imgsz, --img-size)? Is it trained at all?"
    )


class Family(Protocol):
    """Adapter of one upstream, bound to one run's upstream arguments (data, image size, device, ...)."""

    name: str
    rules: Sequence[SwapRule]
    framed: bool  # its validator puts half a stride of grey around square images
    ranked: bool  # exported outputs are lists of detections by score (end-to-end heads): ties may change places

    def check(self, weights: Path) -> None:
        """Refuse early what cannot work: unreadable or foreign checkpoint, missing data, class mismatch.

        Raises:
            PruneError: naming the file and what to type next.
        """

    def check_data(self, weights: Path) -> None:
        """Find the data set as upstream does, and hold its classes against the network's.

        Raises:
            PruneError: the data set is missing or unreadable, or has another number of classes.
        """

    def load(self, weights: Path) -> nn.Module:
        """The network of a checkpoint: training form, float32, CPU, every parameter requiring gradients."""

    def example(self, model: nn.Module) -> Tensor:
        """A zero input (1, channels, height, width) at the run's image size."""

    def ignored(self, model: nn.Module) -> Mapping[str, str]:
        """Layers whose output channels must stay: {module name: reason}. Asked after surgery."""

    def stacks(self, model: nn.Module) -> Mapping[str, str]:
        """Blocks whose number of bottlenecks (their child `m`) stands in the YAML: {name: their reader's name in them}.

        The reader is the convolution behind the bottlenecks. Empty where an upstream's rows name no such number.
        """

    def dropped(self, model: nn.Module) -> Sequence[str]:
        """Blocks that training needs and deployment drops, by name: they are in every count, and said."""

    def tracing(self, model: nn.Module) -> AbstractContextManager[None]:
        """The state in which every branch of the network is visible to the dependency graph."""

    def losses(self, model: nn.Module) -> Iterable[Tensor]:
        """Scalar training losses over a few batches, graph attached, for gradient criteria."""

    def save(self, model: nn.Module, source: Path, target: Path) -> None:
        """Write `model` (stock classes) as a checkpoint of the family, carrying over the metadata of `source`."""

    def write_yaml(self, weights: Path, target: Path) -> None:
        """Write the architecture of a checkpoint as YAML from which the fork rebuilds it strictly."""

    def finetune(self, weights: Path, folder: Path, *, sparsity: float = 0.0, schedule: Schedule = GIVEN) -> Path:
        """Train `weights` with the upstream trainer into `folder`; returns the best checkpoint.

        `sparsity` is the BN-L1 strength: 0 in fine-tuning, above it only in sparsity training, which returns the last
        checkpoint: the most accurate one is of the first epochs, before the penalty has done its work.
        `schedule` scales the run's own learning rate, warm-up and epochs.
        """

    def evaluate(self, weights: Path) -> Metrics:
        """Validate a checkpoint with the upstream validator."""

    def gains(self, weights: Path) -> Mapping[str, float]:
        """What each loss term weighed in the training that wrote a checkpoint: {term: factor}; empty if not known."""

    def export(self, weights: Path, target: Path) -> None:
        """Write an ONNX file through the upstream exporter."""

    def evaluate_onnx(self, path: Path) -> Metrics:
        """Validate an exported file (batch 1, square images) on the CPU, through the upstream validator where it can.

        `path`: an ONNX file, or the folder of an OpenVINO network (`*_openvino_model`).
        """

    def images(self, weights: Path) -> Iterator[Tensor]:
        """Training images as validation would see them, in a shuffled order that is always the same.

        Each (1, channels, imgsz, imgsz), float32, 0 to 1, letterboxed by upstream's own loader, not augmented.
        """

    def found(self, weights: Path, images: Sequence[Tensor]) -> Sequence[list[Found]]:
        """What a checkpoint finds in images, (1, channels, imgsz, imgsz) from 0 to 1, at a confidence of 0.25."""

    def reference(self, weights: Path, image: Tensor) -> Sequence[Tensor]:
        """The outputs that an export of `weights` must reproduce for `image` (1, channels, height, width)."""

    def arguments(self) -> Mapping[str, Any]:
        """The run's upstream arguments, for the report."""


@dataclass(frozen=True)
class Opened:
    """A network that was found and checked, its adapter, and how its folder is chosen (nothing is made yet)."""

    family: Family
    weights: Path
    choose: Choose  # the folder, by what is there at the moment
    seed: int | None = None  # where the upstream's own configuration names one


class Upstream(Protocol):
    """What these command lines ask of an upstream beside its `Family`."""

    def help_text(self) -> str:
        """The upstream group of `--help`: its train arguments."""

    def open(self, weights: str, words: list[str], settings: Settings, *, trust: bool, run: str = "prune") -> Opened:
        """Find and check a network before anything is written.

        Args:
            weights: as given: a path, or a name that upstream publishes.
            words: what prunekit's parser did not know: upstream's train arguments.
            settings: the pruning settings.
            trust: load checkpoints that run code of their own.
            run: what is done, which names the folder where --project and --name do not.

        Raises:
            PruneError: a user error.
        """

    def reopen(self, arguments: dict[str, Any], settings: Settings, *, trust: bool) -> Family:
        """The adapter of an interrupted run, from the arguments in its record."""
