# SPDX-License-Identifier: AGPL-3.0-or-later
"""The layers of a pruned network, solved one after the other by what they are given and what they should put out."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from . import layer as layers
from .consumers import Consumers
from .nonlinear import NonlinearFit
from .ridge import Moments, choose, penalties
from .stages import Stages, hooked

LEAST_PLACES, PER_FEATURE = 64, 12  # positions of an image; samples in all for each feature of the layer
UNCHANGED = 1e-10  # relative squared error that float32 rounding alone leaves behind
HELD = 4  # every fourth batch chooses the penalty


@dataclass(frozen=True)
class Fit:
    """Squared error of a layer's outputs on the calibration images, relative to their variance, and the penalty.

    Behind the activation that takes them, where one is known.
    """

    before: float | None = None
    after: float | None = None
    penalty: float | None = None
    left: str | None = None  # why the layer is as it was


@dataclass
class Repaired:
    """What a repair did: fits by layer in the order of execution, and how far the network's outputs are from dense."""

    images: int
    fits: dict[str, Fit] = field(default_factory=dict)
    before: float = float("nan")
    after: float = float("nan")
    norms: str = "kept"

    def as_dict(self) -> dict[str, Any]:
        """Plain values for the report."""
        rows = {name: {k: v for k, v in vars(fit).items() if v is not None} for name, fit in self.fits.items()}
        return {
            "images": self.images,
            "before": self.before,
            "after": self.after,
            "batchnorm": self.norms,
            "layers": rows,
        }

    def line(self) -> str:
        """For the console."""
        solved = sum(fit.left is None for fit in self.fits.values())
        return (
            f"Repaired {solved} of {len(self.fits)} layers on {self.images} images: the outputs differ from those "
            f"before this pruning by {self.after:.2g} of their variance, {self.before:.2g} without the repair "
            f"(BatchNorm {self.norms})"
        )


class _Reached(Exception):
    """The forward of a stage has come to a layer that is not solved yet and waits for another."""


@dataclass
class _Look:
    """What is wanted of one layer: places and the dense network's outputs there, by batch."""

    at: dict[int, Tensor] = field(default_factory=dict)
    rows: dict[int, Tensor] = field(default_factory=dict)


class Solver:
    """Two networks, stage by stage: the dense one's outputs, the inputs of the pruned one's layers, and the fit."""

    def __init__(
        self,
        model: nn.Module,
        dense: nn.Module,
        survivors: Mapping[str, Sequence[int]],
        batches: list[Tensor],
        done: Repaired,
        seed: int,
    ) -> None:
        self.own, self.other = Stages(model, batches), Stages(dense, batches)
        self.layers = {name: module for name, module in model.named_modules() if isinstance(module, layers.KINDS)}
        self.dense = dict(dense.named_modules())
        self.modules = dict(model.named_modules())
        self.survivors, self.done, self.seed = survivors, done, seed
        self.consumers = Consumers(self.dense)
        self.nonlinear: dict[
            str, NonlinearFit | None
        ] = {}  # of the layers that wait for a fit; None where there is no room

    def run(self) -> list[Any]:
        """Solve everything; the dense network's outputs, by batch."""
        for number, stage in enumerate(self.own.modules):
            inside = {id(module) for module in stage.modules()}
            names = [name for name, layer in self.layers.items() if id(layer) in inside]
            looks = self._looks(number, [name for name in names if self._solvable(name)])
            while (outputs := self._wave(number, looks)) is None:
                pass
            self.own.keep(number, outputs)
        return self.other.outputs

    def _solvable(self, name: str) -> bool:
        reason = layers.obstacle(self.layers[name])
        if reason:
            self.done.fits[name] = Fit(left=reason)
        return reason is None

    def _looks(self, number: int, names: list[str]) -> dict[str, _Look]:
        """Run the dense network's stage; what it puts out at some places of each layer."""
        looks: dict[str, _Look] = {}
        batch = 0
        calls: Counter[tuple[str, int]] = Counter()

        def seen(name: str) -> Any:
            def hook(module: nn.Module, args: Any, output: Tensor) -> None:
                self.consumers.put_out(name, output)
                calls[name, batch] += 1
                look = looks.setdefault(name, _Look())
                if batch not in look.at:
                    at = layers.places(module, output, self._places(name), self._generator(name, batch))
                    look.at[batch] = at
                    look.rows[batch] = layers.targets(module, output, at, self.survivors.get(name))

            return hook

        def norm_called(name: str) -> None:
            calls[name, batch] += 1

        hooks = [self.dense[name].register_forward_hook(seen(name)) for name in names]
        hooks += self.consumers.hooks(names, norm_called)
        outputs = []
        with hooked(hooks):
            for batch in range(len(self.other.batches)):
                outputs.append(self.other.run(number, batch))
        self.other.keep(number, outputs)
        self._leave_shared(looks, {name for (name, _), number in calls.items() if number > 1})
        return looks

    def _leave_shared(self, looks: dict[str, _Look], shared: set[str]) -> None:
        """One weight, or one norm's shift, cannot be the answer to several calls."""
        for name in [name for name in looks if name in shared]:
            del looks[name]
            self.done.fits[name] = Fit(left="called more than once")
        self.consumers.forget(shared)

    def _places(self, name: str) -> int:
        images = sum(len(batch) for batch in self.own.batches)
        return max(LEAST_PLACES, -(-PER_FEATURE * layers.features_of(self.layers[name]) // images))

    def _generator(self, name: str, batch: int) -> torch.Generator:
        return torch.Generator().manual_seed(zlib.crc32(f"{self.seed} {batch} {name}".encode()))

    def _wave(self, number: int, looks: Mapping[str, _Look]) -> list[Any] | None:
        """Solve the next layers of a stage that are given the same tensor; its outputs if all are solved."""
        outputs: list[Any] = []
        sums: dict[tuple[str, bool], Moments] = {}
        for batch in range(len(self.own.batches)):
            part: dict[str, Moments] = {}
            with hooked(list(self._watching(part, batch, looks))):
                try:
                    outputs.append(self.own.run(number, batch))
                except _Reached:
                    outputs.append(None)
            for name, moments in part.items():
                key = (name, self._is_held(batch))
                sums[key] = sums[key] + moments if key in sums else moments
        for name in dict.fromkeys(name for name, _ in sums):
            self._fit(name, sums[name, False], sums.get((name, True)))
        return None if sums else outputs

    def _is_held(self, batch: int) -> bool:
        few = 1 < len(self.own.batches) < HELD
        return batch == len(self.own.batches) - 1 if few else batch % HELD == HELD - 1

    def _watching(self, part: dict[str, Moments], batch: int, looks: Mapping[str, _Look]) -> Iterator[Any]:
        given: list[Tensor] = []

        def before(name: str) -> Any:
            def hook(module: nn.Module, args: Any) -> None:
                if name in self.done.fits:
                    return
                given.append(args[0])
                if args[0] is not given[0]:
                    raise _Reached
                part[name] = self._moments(name, args[0], looks[name], batch)

            return hook

        for name in looks:
            if name not in self.done.fits:
                yield self.layers[name].register_forward_pre_hook(before(name))

    def _moments(self, name: str, given: Tensor, look: _Look, batch: int) -> Moments:
        layer, at = self.layers[name], look.at.pop(batch)
        x, wanted = layers.features(layer, given, at), layers.grouped(layer, look.rows.pop(batch))
        self._keep(name, x, wanted)
        return Moments.of(x, wanted, layers.matrix(layer), layers.shift(layer), self._shifts(name))

    def _keep(self, name: str, x: Tensor, wanted: Tensor) -> None:
        """A batch's samples, where an activation follows and they have room."""
        spread = isinstance(self.layers[name], nn.ConvTranspose2d)  # several outputs for each channel of a norm
        if spread or name not in self.consumers.activations or self.nonlinear.get(name, wanted) is None:
            return
        if name not in self.nonlinear:
            norm = self.modules[self.consumers.norms[name]] if name in self.consumers.norms else None
            self.nonlinear[name] = NonlinearFit.behind(
                self.consumers.activations[name], norm, len(wanted), wanted.shape[2]
            )
        samples: Any = self.nonlinear[name]
        samples.add(x, wanted)
        if not samples.fits(len(self.own.batches)):
            self.nonlinear[name] = None

    def _shifts(self, name: str) -> bool:
        """The outputs of a layer can be shifted: by its bias, or by the mean that the next BatchNorm takes away."""
        layer = self.layers[name]
        return not isinstance(layer, nn.ConvTranspose2d) and (layer.bias is not None or name in self.consumers.norms)

    def _fit(self, name: str, fitted: Moments, held: Moments | None) -> None:
        layer, bias = self.layers[name], self._shifts(name)
        whole = fitted if held is None else fitted + held
        before = whole.error()
        reason = "inputs unchanged" if before < UNCHANGED else None
        change, penalty = (None, 0.0) if reason else choose(fitted, held, bias)
        after = before if change is None else whole.error(change)
        samples = self.nonlinear.pop(name, None)
        if change is not None and samples is not None:
            weights, shift, ridge = layers.matrix(layer), layers.shift(layer), penalties(whole, penalty, bias)
            change, before, after = samples.refined(change, weights, shift, whole.square, ridge, bias)
        if change is None or not after < before:
            self.done.fits[name] = Fit(before, before, left=reason or "no better fit")
            return
        self.done.fits[name] = Fit(before, after, penalty)
        size = change.shape[1] - int(bias)
        layers.write(layer, layers.matrix(layer) + change[:, :size])
        if bias:
            self._shift(name, change[:, size].flatten())

    def _shift(self, name: str, by: Tensor) -> None:
        layer = self.layers[name]
        if layer.bias is not None:
            layer.bias.data += by.to(layer.bias.dtype)
        else:
            norm: Any = self.modules[self.consumers.norms[name]]
            norm.running_mean -= by.to(norm.running_mean.dtype)
