# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where the channels of a traced network can be followed, and where they cannot.

torch-pruning takes every operation that it does not know for an element-wise one. Here each operation of the autograd
graph is asked along which dimension of its output the channels lie. An operation that moves, mixes or regroups them, or
that is not known, is a barrier: what it is tied to keeps its channels, with the reason. Shapes are those of the trace.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any, TypeGuard

from torch import nn
from torch_pruning import ops

Node = Any  # an autograd node
Shape = tuple[int, ...]
STUCK = -1  # channels that a barrier, or a parameter, has left where they must stay
SPREAD = -2  # one value for all channels, whatever their number
_LAYERS = (ops.TORCH_CONV, ops.TORCH_LINEAR, ops.TORCH_BATCHNORM)
_NORMS = (ops.TORCH_LAYERNORM, ops.TORCH_GROUPNORM, ops.TORCH_INSTANCENORM, ops.TORCH_PRELU)
_WRAPPED = (*_LAYERS, *_NORMS, ops.TORCH_MHA, ops.TORCH_LSTM, ops.TORCH_EMBED)


@dataclass(frozen=True)
class LayerCall:
    """One call of a module that torch-pruning knows: the node and the shape that went in."""

    module: nn.Module
    source: Node | None
    shape: Shape


@dataclass
class Flow:
    """What the walk through the graph found.

    Attributes:
        barriers: node -> why the channels that reach it must stay.
        cuts: (node, node before it) between which no channels pass: a gate for all channels, a scalar weight.
        stacks: node of a concatenation of channels -> the sizes of its parts.
        dims: node -> the dimension of its output along which its channels lie; None or below 0 where none can go.
        operations: the kinds of all nodes, in order; a change of precision is none.
    """

    barriers: dict[Node, str] = field(default_factory=dict)
    cuts: set[tuple[Node, Node]] = field(default_factory=set)
    stacks: dict[Node, list[int]] = field(default_factory=dict)
    dims: dict[Node, int | None] = field(default_factory=dict)
    operations: tuple[str, ...] = ()


def follow(
    model: nn.Module, outputs: Iterable[Node], calls: Mapping[Node, LayerCall], opaque: Callable[[Node], str | None]
) -> Flow:
    """Walk from the first operation of a trace to its `outputs`.

    Args:
        calls: output node of each call of a known layer -> what went in.
        opaque: why a node belongs to a module that is not to be looked into, if so.
    """
    walk = _Walk(model, calls, opaque)
    nodes = _in_order(outputs)
    for node in nodes:
        walk.visit(node)
    walk.flow.operations = tuple(node.name() for node in nodes if "ToCopy" not in node.name())
    return walk.flow


def _in_order(outputs: Iterable[Node]) -> list[Node]:
    """Every node of the graph, each after those that it depends on."""
    done: dict[Node, None] = {}
    stack = [(node, False) for node in outputs]
    while stack:
        node, ready = stack.pop()
        if node in done:
            continue
        if ready:
            done[node] = None
            continue
        stack.append((node, True))
        stack.extend((source, False) for source, _ in node.next_functions if source is not None and source not in done)
    return list(done)


class _Walk:
    """The dimension along which the channels of each node's output lie; None where there are none, STUCK if kept."""

    def __init__(self, model: nn.Module, calls: Mapping[Node, LayerCall], opaque: Callable[[Node], str | None]) -> None:
        self.flow, self.calls, self.opaque = Flow(), calls, opaque
        self.dims = self.flow.dims
        self.names = {id(p): name for name, p in model.named_parameters()}
        self.wrapped = {id(p) for m in model.modules() if isinstance(m, _WRAPPED) for p in m.parameters()}
        self.inner = {node: call for out, call in calls.items() for node in _inside(out, call)}
        self.owners: dict[int, set[int]] = {}
        for call in calls.values():
            self.owners.setdefault(id(getattr(call.module, "weight", None)), set()).add(id(call.module))

    def visit(self, node: Node) -> None:
        """Decide on one node, those before it being decided."""
        if node.name().endswith("AccumulateGrad"):
            self.dims[node] = self._parameter(node)
        elif (reason := self.opaque(node)) is not None:
            self._bar(node, reason)
        elif node in self.calls:
            self._layer(node, self.calls[node])
        elif node in self.inner:
            call = self.inner[node]
            found = None if call.source is None else self.dims.get(call.source)
            self.dims[node] = len(_shape(node, 0)) - 1 if _free(found) else found
        else:
            self._operation(node)

    def _bar(self, node: Node, reason: str) -> None:
        self.flow.barriers[node] = reason
        self.dims[node] = STUCK

    def _parameter(self, node: Node) -> int | None:
        """A bare parameter with one long axis may hold a value for each channel; any other cannot be cut."""
        parameter = node.variable
        long = [axis for axis, size in enumerate(parameter.shape) if size > 1]
        if id(parameter) in self.wrapped or not long:
            return None
        if len(long) == 1:
            return long[0]
        name = self.names.get(id(parameter), "a parameter")
        self.flow.barriers[node] = f"tied to {name}, which is no list of channels"
        return STUCK

    def _layer(self, node: Node, call: LayerCall) -> None:
        module, rank = call.module, len(call.shape)
        found = None if call.source is None else self.dims.get(call.source)
        wanted = rank - 1 if isinstance(module, (nn.Linear, nn.LayerNorm)) else 1
        weight = getattr(module, "weight", None)
        computed = weight is not None and id(weight) not in self.names
        if computed or (len(self.owners.get(id(weight), ())) > 1 and weight is not None):
            self._bar(node, "its weight is computed or shared with another layer")
        elif isinstance(module, (ops.TORCH_MHA, ops.TORCH_LSTM, ops.TORCH_EMBED)):
            self._bar(node, f"tied to {type(module).__name__}, which cannot be pruned exactly")
        elif _free(found) and found != wanted:
            self._bar(node, f"the channels before it are not the channels of this {type(module).__name__}")
        elif isinstance(module, (ops.TORCH_CONV, ops.TORCH_LINEAR)):
            if found in (None, SPREAD):
                self._cut_inputs(node, call)
            self.dims[node] = 1 if isinstance(module, ops.TORCH_CONV) else len(_shape(node, 0)) - 1
        elif found in (None, SPREAD):
            self._bar(node, "normalises what has no channels to prune")
        else:
            self.dims[node] = found

    def _cut_inputs(self, node: Node, call: LayerCall) -> None:
        if call.source is not None:
            self.flow.cuts.update((each, call.source) for each in (node, *_inside(node, call)))

    def _operation(self, node: Node) -> None:
        inputs = [(s, self.dims.get(s), _shape(s, nr)) for s, nr in node.next_functions if s is not None]
        if not any(_free(dim) for _, dim, _ in inputs):
            self.dims[node] = STUCK if any(dim == STUCK for _, dim, _ in inputs) else None
            return
        kind = re.sub(r"Backward\d*$", "", node.name().rpartition("::")[2])
        rule = _RULES.get(kind)
        result = rule(self, node, inputs) if rule else f"{kind} is not known to leave the channels as they are"
        if isinstance(result, str):
            self._bar(node, result)
        else:
            self.dims[node] = result


Inputs = list[tuple[Node, "int | None", Shape]]
Result = "int | None | str"


def _elementwise(walk: _Walk, node: Node, inputs: Inputs) -> int | str:
    """Sums, products, activations: channel by channel, inputs of size 1 along the channels serve them all."""
    shape = _shape(node, 0)
    full = {
        dim + len(shape) - len(s) for _, dim, s in inputs if _free(dim) and s[dim] == shape[dim + len(shape) - len(s)]
    }
    if len(full) > 1:
        return "combines channels along different dimensions"
    if not full:
        return "spreads one channel over many"
    (place,) = full
    for source, dim, s in inputs:
        at = place - len(shape) + len(s)
        if dim == SPREAD or at < 0 or (s[at] == 1 and shape[place] > 1):
            walk.flow.cuts.add((node, source))
        elif dim is None:
            return "combines channels with values that are not of these channels"
        elif _free(dim) and dim != at:
            return "combines channels along different dimensions"
    return place


def _view(walk: _Walk, node: Node, inputs: Inputs) -> int | str:
    """A reshape leaves the channels if an axis of their number stands behind the same number of elements."""
    (dim, shape), *_ = _free_ones(inputs)
    out, before = _shape(node, 0), prod(shape[:dim])
    fits = [place for place, size in enumerate(out) if size == shape[dim] and prod(out[:place]) == before]
    if not fits:
        return "a reshape regroups the channels"
    return dim if dim in fits else fits[0]


def _expand(walk: _Walk, node: Node, inputs: Inputs) -> int | str:
    source, (dim, shape) = inputs[0][0], _free_ones(inputs)[0]
    out = _shape(node, 0)
    place = dim + len(out) - len(shape)
    if out[place] == shape[dim]:
        return place
    walk.flow.cuts.add((node, source))
    return SPREAD


def _permute(walk: _Walk, node: Node, inputs: Inputs) -> int | str:
    dim, shape = _free_ones(inputs)[0]
    axes = [_axis(axis, len(shape)) for axis in node._saved_dims]
    return axes.index(dim)


def _transpose(walk: _Walk, node: Node, inputs: Inputs) -> int | str:
    dim, shape = _free_ones(inputs)[0]
    first, second = (_axis(getattr(node, f"_saved_dim{i}", i), len(shape)) for i in (0, 1))
    return {first: second, second: first}.get(dim, dim)


def _along(what: str, keeps_rank: bool = True) -> Callable[[_Walk, Node, Inputs], int | str]:
    """An operation along other dimensions than the channels'."""

    def rule(walk: _Walk, node: Node, inputs: Inputs) -> int | str:
        free = _free_ones(inputs)
        (dim, shape), given = free[0], getattr(node, "_saved_dim", getattr(node, "_saved_dims", None))
        if given is None or len(free) > 1:
            return f"{what} the channels"
        axes = [_axis(axis, len(shape)) for axis in (given if isinstance(given, (tuple, list)) else [given])]
        if dim in axes or not axes:
            return f"{what} the channels"
        gone = [axis for axis in axes if axis < dim]
        return dim if keeps_rank or getattr(node, "_saved_keepdim", False) else dim - len(gone)

    return rule


def _stack(walk: _Walk, node: Node, inputs: Inputs) -> int | str:
    """A concatenation: of channels one after the other, or of places, channel by channel."""
    dims = {dim for _, dim, _ in inputs if _free(dim)}
    rank = len(_shape(node, 0))
    at = _axis(node._saved_dim, rank)
    if len(dims) > 1 or any(dim is None for _, dim, _ in inputs):
        return "concatenates channels with what has none"
    (place,) = dims
    sources = [source for source, _ in node.next_functions]
    if at != place:
        return place if None not in sources else "concatenates channels with a constant"
    if None in sources[: max(i for i, s in enumerate(sources) if s is not None)]:
        return "concatenates channels behind a constant"
    walk.flow.stacks[node] = [s[at] for _, _, s in inputs]
    return place


def _pooling(spatial: int) -> Callable[[_Walk, Node, Inputs], int | str]:
    """Works on the last `spatial` dimensions, each channel by itself."""

    def rule(walk: _Walk, node: Node, inputs: Inputs) -> int | str:
        free = _free_ones(inputs)
        dim, shape = free[0]
        wrong = len(free) > 1 or dim >= len(shape) - spatial or len(_shape(node, 0)) != len(shape)
        return "pools or resamples along the channels" if wrong else dim

    return rule


def _padding(walk: _Walk, node: Node, inputs: Inputs) -> int | str:
    dim, shape = _free_ones(inputs)[0]
    pads = list(getattr(node, "_saved_pad", getattr(node, "_saved_padding", ())))
    from_end = len(shape) - 1 - dim
    changed = pads[2 * from_end : 2 * from_end + 2]
    return "pads the channels" if not pads or any(changed) else dim


_SAME = (
    "Abs Add Addcmul Addcdiv Alias Celu Clamp ClampMin ClampMax Clone ToCopy Copy Cos Div Elu Erf Exp Expm1 Fill "
    "FakeQuantizePerTensorAffineCachemask Gelu Hardshrink Hardsigmoid Hardswish Hardtanh Identity LeakyRelu Lerp Log "
    "Log1P LogSigmoid MaskedFill Maximum Minimum Mish Mul NativeDropout Neg Pow Reciprocal Relu Relu6 Round Rsqrt Rsub "
    "Selu Sigmoid Sign Silu Sin Softplus Softshrink Softsign Sqrt Square Sub Tanh Threshold Where ViewAs Contiguous"
).split()
_RULES: dict[str, Callable[[_Walk, Node, Inputs], Any]] = {
    **dict.fromkeys(_SAME, _elementwise),
    **dict.fromkeys(("View", "UnsafeView", "ReshapeAlias", "Unsqueeze", "Squeeze", "Flatten"), _view),
    "Expand": _expand,
    "Permute": _permute,
    **dict.fromkeys(("Transpose", "T"), _transpose),
    **dict.fromkeys(("Softmax", "LogSoftmax", "Cumsum", "Flip", "Roll"), _along("works along")),
    **dict.fromkeys(("Slice", "Split", "SplitWithSizes", "IndexSelect"), _along("splits")),
    **dict.fromkeys(("Select", "Unbind"), _along("splits", keeps_rank=False)),
    **dict.fromkeys(
        ("Mean", "Sum", "Max", "Min", "Amax", "Amin", "Std", "Var", "Prod", "Logsumexp", "LinalgVectorNorm", "Norm"),
        _along("reduces", keeps_rank=False),
    ),
    "Cat": _stack,
    **dict.fromkeys(("MaxPool1DWithIndices", "AvgPool1D", "UpsampleNearest1D", "UpsampleLinear1D"), _pooling(1)),
    **dict.fromkeys(
        (
            "MaxPool2DWithIndices",
            "MaxPool2D",
            "AvgPool2D",
            "AdaptiveAvgPool2D",
            "AdaptiveMaxPool2D",
            "MkldnnAdaptiveAvgPool2D",
            "MkldnnMaxPool2D",
            "UpsampleNearest2D",
            "UpsampleNearestExact2D",
            "UpsampleBilinear2D",
            "UpsampleBilinear2DAa",
            "UpsampleBicubic2D",
            "ReflectionPad2D",
            "ReplicationPad2D",
            "GridSampler2D",
        ),
        _pooling(2),
    ),
    "ConstantPadNd": _padding,
}


def _free(dim: int | None) -> TypeGuard[int]:
    """Is this a dimension of channels that may go?"""
    return dim is not None and dim >= 0


def _free_ones(inputs: Inputs) -> list[tuple[int, Shape]]:
    """(dimension of the channels, shape) of each input that has channels which may go; a rule is given at least one."""
    return [(dim, shape) for _, dim, shape in inputs if _free(dim)]


def _axis(axis: int, rank: int) -> int:
    """A saved axis; negative ones are kept as large unsigned numbers."""
    axis = axis - 2**64 if axis >= 2**63 else axis
    return axis % rank if rank else 0


def _shape(node: Node, number: int) -> Shape:
    """The shape of a node's output (of a parameter, its own)."""
    if node.name().endswith("AccumulateGrad"):
        return tuple(node.variable.shape)
    return tuple(node._input_metadata[number].shape)


def _inside(out: Node, call: LayerCall) -> list[Node]:
    """The nodes of a linear layer's call between its input and its output (it flattens what has more than two axes)."""
    found: list[Node] = []
    stack = [source for source, _ in out.next_functions] if isinstance(call.module, nn.Linear) else []
    while stack:
        node = stack.pop()
        leaf = node is None or node is call.source or node.name().endswith("AccumulateGrad")
        if not leaf and node not in found and node._sequence_nr() <= out._sequence_nr():
            if call.source is None or node._sequence_nr() > call.source._sequence_nr():
                found.append(node)
                stack.extend(source for source, _ in node.next_functions)
    return found
