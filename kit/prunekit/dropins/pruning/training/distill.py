# SPDX-License-Identifier: AGPL-3.0-or-later
"""Fine-tuning beside the dense network: what it answers, and where it looks, pulls on the pruned one.

Works in any upstream's trainer in this process, without touching it: hooks on torch itself (not on the network, whose
copies go into checkpoints) see the head of whatever network is trained. The pull is added as a gradient, scaled
to that of the task's loss at the same tensor, so its strength means the same in every family.

Answers: squared error of the head's raw outputs (Hinton et al., arXiv:1503.02531, section 2.1, high temperature).
Where it looks: the maps of squared activations before the head, which have no channels left in them and so compare
networks of unequal widths (Zagoruyko and Komodakis, attention transfer, arXiv:1612.03928, eq. 1 and 2).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_hooks
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.optim.optimizer import register_optimizer_step_pre_hook

from ..errors import PruneError

ONE = "The dense network teaches one process on one device: give one --device, or leave --distill out."


@dataclass
class Lesson:
    """One fine-tuning's teacher and what has been taught.

    Attributes:
        teacher: the dense network, in training form, frozen.
        strength: norm of the pull, relative to that of the task's gradient at the same tensor.
        batches: how many training batches were taught.
        pulled: tensors per batch.
    """

    teacher: nn.Module
    strength: float
    batches: int = 0
    pulled: int = 0
    own: set[int] = field(default_factory=set)
    image: Tensor | None = None
    features: list[Tensor] = field(default_factory=list)
    answers: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        layers: Any = self.teacher.model  # every YOLO family calls its parsed layers one by one
        self.first, self.head = layers[0], layers[-1]
        self.own = {id(module) for module in self.teacher.modules()}
        self.teacher.train().requires_grad_(False)
        for module in self.teacher.modules():  # its answer to an image is one: statistics and dropout as in inference
            if isinstance(module, (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)):
                module.eval()

    def learns(self, module: nn.Module, like: Any) -> bool:
        """`module` is the trained network's counterpart of the teacher's layer `like`."""
        return module.training and torch.is_grad_enabled() and type(module) is type(like) and id(module) not in self.own


@contextmanager
def taught(teacher: nn.Module, strength: float) -> Iterator[Lesson | None]:
    """Let `teacher` pull on every network of its kind that is trained inside; nothing at strength 0.

    Args:
        teacher: the dense network in training form; changed (frozen, moved to where training happens).
        strength: 0 to about 1.

    Raises:
        PruneError: inside, at the first batch that several devices share, or at the first step of an optimizer that
            nothing was pulled for: not after hours.
    """
    if not strength:
        yield None
        return
    lesson = Lesson(teacher, strength)
    asked: Any = lambda module, args: _before(lesson, module, args)  # noqa: E731  # torch's type forbids an answer
    before = torch_hooks.register_module_forward_pre_hook(asked)
    after = torch_hooks.register_module_forward_hook(lambda module, args, output: _after(lesson, module, output))
    steps = register_optimizer_step_pre_hook(lambda optimizer, args, keywords: _require_pull(lesson))
    try:
        yield lesson
    finally:
        for hook in (before, after, steps):
            hook.remove()


def _require_pull(lesson: Lesson) -> None:
    """Before an optimizer's step: the batch behind it was taught."""
    if not lesson.pulled:
        raise PruneError(
            f"--distill reached no training batch: {type(lesson.head).__name__} is not a head whose answers or "
            "features compare with the pruned network's. Leave --distill out."
        )


def _require_one_device(module: nn.Module) -> None:
    """PruneError if a trained network's batch is shared: by devices, or by processes (each step averages over them)."""
    if not module.training:
        return
    shared = isinstance(module, DataParallel) and len(module.device_ids) > 1
    if shared or (isinstance(module, DistributedDataParallel) and torch.distributed.get_world_size() > 1):
        raise PruneError(f"--distill: {type(module).__name__} shares the batch. {ONE}")


def _before(lesson: Lesson, module: nn.Module, args: tuple[Any, ...]) -> Any:
    """Note the image; before the trained head, ask the teacher and pull on what the head is given."""
    if isinstance(module, (DataParallel, DistributedDataParallel)):
        _require_one_device(module)
    if id(module) in lesson.own:
        if module is lesson.head:
            lesson.features = _tensors(args)
        return None
    if type(module) is type(lesson.first) and lesson.learns(module, lesson.first) and _is_image(args, lesson):
        lesson.image = args[0]
        return None
    if not (lesson.learns(module, lesson.head) and lesson.image is not None):
        return None
    _ask(lesson)
    lesson.batches, lesson.pulled = lesson.batches + 1, 0
    pairs = {id(own): other for own, other in zip(_tensors(args), lesson.features, strict=False)}
    return _mapped(args, lambda own: _pull(lesson, own, pairs.get(id(own)), _looking))


def _after(lesson: Lesson, module: nn.Module, output: Any) -> Any:
    """Pull on what the trained head answers."""
    if not lesson.answers or not lesson.learns(module, lesson.head):
        return None
    wanted, lesson.answers = lesson.answers, []
    pairs = {id(own): other for own, other in zip(_tensors(output), wanted, strict=False)}
    return _mapped(output, lambda own: _pull(lesson, own, pairs.get(id(own)), _answer))


def _is_image(args: tuple[Any, ...], lesson: Lesson) -> bool:
    structure = getattr(lesson.teacher, "yaml", None) or {}  # the first layer's weight may see other channels: Focus
    channels = structure.get("channels") or structure.get("ch") or _channels_of(lesson.first)
    return isinstance(args[0], Tensor) and args[0].dim() == 4 and args[0].shape[1] == channels


def _channels_of(first: Any) -> int:
    weight = next(first.parameters(), None)
    return 3 if weight is None or weight.dim() != 4 else int(weight.shape[1])


def _ask(lesson: Lesson) -> None:
    """Run the teacher on the image; its features and answers are noted."""
    assert lesson.image is not None
    with torch.no_grad():
        lesson.teacher.to(lesson.image.device)
        lesson.answers = _tensors(lesson.teacher(lesson.image.detach()))
    lesson.image = None


def _pull(lesson: Lesson, own: Tensor, wanted: Tensor | None, gradient: Any) -> Tensor:
    """`own` itself, with the pull towards `wanted` in its backward pass; untouched where the two do not compare."""
    if wanted is None or not own.requires_grad or own.dim() < 2 or (gradient is _answer and own.shape != wanted.shape):
        return own
    if gradient is _looking and (own.shape[0], *own.shape[2:]) != (wanted.shape[0], *wanted.shape[2:]):
        return own
    lesson.pulled += 1
    return _Pulled.apply(own, gradient(own.detach(), wanted), lesson.strength)


class _Pulled(torch.autograd.Function):
    """Identity; backward adds a gradient, scaled to `strength` times the norm of the one that arrives."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, pull: Tensor, strength: float) -> Tensor:
        ctx.save_for_backward(pull)
        ctx.strength = strength
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (pull,), gradient = ctx.saved_tensors, gradients[0]
        scale = ctx.strength * gradient.norm() / pull.norm().clamp_min(1e-12)
        return gradient + scale * pull, None, None


def _answer(own: Tensor, wanted: Tensor) -> Tensor:
    """Gradient of half the squared error."""
    return own - wanted


def _looking(own: Tensor, wanted: Tensor) -> Tensor:
    """Gradient of half the squared error of normalised maps of squared activations; own: (n, channels, h, w)."""
    with torch.enable_grad():
        student = own.clone().requires_grad_(True)
        maps = [nn.functional.normalize(x.pow(2).mean(1).flatten(1), dim=1) for x in (student, wanted)]  # (n, h * w)
        return torch.autograd.grad((maps[0] - maps[1]).pow(2).sum() / 2, student)[0]


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    parts: Sequence[Any] = list(value.values()) if isinstance(value, dict) else value
    return [tensor for part in parts for tensor in _tensors(part)] if isinstance(parts, (list, tuple)) else []


def _mapped(value: Any, change: Any) -> Any:
    """The same structure, with every tensor replaced."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return {key: _mapped(part, change) for key, part in value.items()}
    return type(value)(_mapped(part, change) for part in value) if isinstance(value, (list, tuple)) else value
