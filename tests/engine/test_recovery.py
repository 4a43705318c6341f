# SPDX-License-Identifier: AGPL-3.0-or-later
"""What brings accuracy back: BatchNorm statistics measured anew, the dense network's pull; on toys, no upstream."""

from __future__ import annotations

import copy
import io
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from engine_helpers import OUTPUTS, modules, toy
from torch import Tensor, nn
from torch.nn.modules import module as torch_hooks


@pytest.fixture(scope="module")
def parts(engine: object) -> SimpleNamespace:
    """The modules, imported as the engine is on its own."""
    names = ("training.recalibrate", "training.distill", "run.preview", "run.loop", "run.finetune", "scripts.options")
    return modules(*names)


def test_statistics_are_those_of_the_batches(parts: SimpleNamespace) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, momentum=0.2), nn.Dropout(0.5)).eval()
    spare = nn.BatchNorm2d(2).eval()
    spare.running_mean.fill_(7.0)
    net.add_module("spare", nn.Identity().eval())
    net.spare.add_module("unused", spare)
    images = [torch.rand(5, 3, 6, 6) for _ in range(3)]
    weights = [p.clone() for p in net.parameters()]
    assert parts.recalibrate.recalibrate(net, lambda: (net[1](net[0](x)).sum() for x in images)) == 3
    seen = torch.stack([net[0](x).mean((0, 2, 3)) for x in images]).mean(0)
    assert torch.allclose(net[1].running_mean, seen, atol=1e-6)
    assert net[1].momentum == 0.2 and not any(module.training for module in net.modules())
    assert all(torch.equal(a, b) for a, b in zip(weights, net.parameters(), strict=True))
    assert float(spare.running_mean[0]) == 7.0, "a branch that no batch reached keeps its statistics"


def test_no_batch_is_an_error_and_changes_nothing(parts: SimpleNamespace) -> None:
    net = nn.Sequential(nn.BatchNorm2d(4))
    net[0].running_mean.fill_(3.0)
    with pytest.raises(Exception, match="No training batch reached a BatchNorm"):
        parts.recalibrate.recalibrate(net, list)
    assert float(net[0].running_mean[0]) == 3.0 and net[0].momentum == 0.1


class Head(nn.Module):
    """A head that answers with a dictionary of two tensors and what it was given."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.out = nn.Conv2d(width, 6, 1)

    def forward(self, x: list[Tensor]) -> dict[str, Any]:
        made = self.out(x[0])
        return {"boxes": made[:, :4], "scores": made[:, 4:], "feats": x}


class Yolo(nn.Module):
    """The least that every YOLO family has: parsed layers, called one by one, a head at the end."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.model = nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), Head(width))

    def forward(self, x: Tensor) -> dict[str, Any]:
        return self.model[2]([self.model[1](self.model[0](x))])


def gradients(student: Yolo, image: Tensor) -> list[Tensor]:
    student.train().zero_grad()
    answer = student(image)
    (answer["boxes"].pow(2).mean() + answer["scores"].sum() / 50).backward()
    return [p.grad.clone() for p in student.parameters()]


def test_the_pull_is_added_to_the_gradient_and_only_inside(parts: SimpleNamespace) -> None:
    torch.manual_seed(0)
    dense, pruned, image = Yolo(12), Yolo(5), torch.rand(2, 3, 8, 8)
    plain = gradients(pruned, image)
    statistics = dense.model[1].running_mean.clone()
    hooks = len(torch_hooks._global_forward_hooks), len(torch_hooks._global_forward_pre_hooks)
    with parts.distill.taught(dense, 0.5) as lesson:
        pulled = gradients(pruned, image)
        held = copy.deepcopy(pruned).eval()
        held(image)  # as upstream validates its EMA meanwhile: nothing is taught
        torch.save(held, io.BytesIO())
    assert lesson.batches == 1 and lesson.pulled == 3, "two answers and one map"
    assert torch.equal(statistics, dense.model[1].running_mean), "the teacher's statistics moved"
    assert all(not torch.allclose(a, b) for a, b in zip(plain, pulled, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(plain, gradients(pruned, image), strict=True))
    assert hooks == (len(torch_hooks._global_forward_hooks), len(torch_hooks._global_forward_pre_hooks))


def test_the_pull_has_its_strength_and_its_direction(parts: SimpleNamespace) -> None:
    """At the head's answers: task gradient plus strength * |task gradient| towards the dense network's answer."""
    own, wanted = torch.rand(2, 3, 4, requires_grad=True), torch.rand(2, 3, 4)
    lesson = SimpleNamespace(strength=0.5, pulled=0)
    task = torch.rand(2, 3, 4)
    parts.distill._pull(lesson, own, wanted, parts.distill._answer).backward(task)
    pull = own.grad - task
    assert torch.isclose(pull.norm(), 0.5 * task.norm(), rtol=1e-5)
    assert torch.nn.functional.cosine_similarity(pull.flatten(), (own - wanted).detach().flatten(), dim=0) > 0.9999


def test_a_student_that_is_pulled_comes_nearer(parts: SimpleNamespace) -> None:
    """Trained on a task that says nothing, a narrower network's answers go towards the dense network's."""
    torch.manual_seed(1)
    dense, images = Yolo(12), torch.rand(8, 3, 8, 8)
    wanted = dense.eval()(images)["boxes"].detach()

    def apart(strength: float) -> float:
        torch.manual_seed(2)
        pruned = Yolo(5)
        optimizer = torch.optim.SGD(pruned.parameters(), lr=0.01)
        with parts.distill.taught(copy.deepcopy(dense), strength):
            for _ in range(30):
                optimizer.zero_grad()
                pruned.train()(images)["boxes"].mean().backward()
                optimizer.step()
            return float((pruned.eval()(images)["boxes"] - wanted).pow(2).mean().detach())

    assert apart(4.0) < 0.8 * apart(0.0)


def test_a_training_that_nothing_is_pulled_in_ends_at_its_first_step(parts: SimpleNamespace) -> None:
    """A head that the teacher's does not compare with is found by the first optimizer step, not after all epochs."""
    other = nn.Sequential(nn.Conv2d(3, 5, 3), nn.Conv2d(5, 6, 1))
    optimizer, before = torch.optim.SGD(other.parameters(), lr=0.01), other[1].weight.clone()
    with parts.distill.taught(Yolo(12), 0.5), pytest.raises(Exception, match="no training batch: Head is not a head"):
        other(torch.rand(2, 3, 8, 8)).mean().backward()
        optimizer.step()
    assert torch.equal(before, other[1].weight)
    optimizer.step()  # outside, nobody asks


def test_a_batch_that_devices_share_is_not_taught(parts: SimpleNamespace) -> None:
    class Shared(nn.DataParallel):
        def __init__(self, module: nn.Module) -> None:
            super().__init__(module)  # without a GPU: the module itself
            self.device_ids = [0, 1]

        def forward(self, x: Tensor) -> Any:
            return self.module(x)

    shared, image = Shared(Yolo(5)), torch.rand(2, 3, 8, 8)
    with parts.distill.taught(Yolo(12), 0.5):
        shared.eval()(image)
        with pytest.raises(
            Exception, match=r"--distill: Shared shares the batch.*one --device, or leave --distill out"
        ):
            shared.train()(image)


def test_the_teacher_has_one_answer_to_an_image(parts: SimpleNamespace) -> None:
    dense, image = Yolo(12), torch.rand(2, 3, 8, 8)
    dense.model.insert(1, nn.Dropout(0.5))
    teacher = parts.distill.Lesson(dense, 0.5).teacher.model
    with torch.no_grad():
        assert teacher.training and torch.equal(teacher[1](teacher[0](image)), teacher[0](image))


DEVICES = [("0,1", 1, "2 devices"), ([0, 1, 2], 1, "3 devices"), ("", 2, "2 processes"), ("-1,-1", 1, "2 devices")]


@pytest.mark.parametrize(("device", "world", "said"), DEVICES, ids=[row[2] + str(row[0]) for row in DEVICES])
def test_several_devices_are_refused_before_any_work(
    parts: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, device: Any, world: int, said: str
) -> None:
    monkeypatch.setenv("WORLD_SIZE", str(world))
    family = SimpleNamespace(arguments=lambda: {"device": device})  # has nothing else: anything more would fail
    state = SimpleNamespace(settings=parts.options.Settings(distill=0.5), dense={})
    with pytest.raises(Exception, match=rf"^--distill 0\.5 cannot be done by {said}\. .*give one --device"):
        parts.loop.run(state, family)


@pytest.mark.parametrize("device", [None, "", "cpu", "0", "cuda:1", 0, [1]])
def test_one_device_may_be_taught(parts: SimpleNamespace, device: Any) -> None:
    family = SimpleNamespace(arguments=lambda: {"device": device})
    parts.finetune.require_one_process(family, parts.options.Settings(distill=0.5))


def test_preview_counts_reasons_and_knows_the_ceiling(engine: SimpleNamespace, parts: SimpleNamespace) -> None:
    model, x = toy()
    graph = engine.graph.PruningGraph.build(model, x, ignored=OUTPUTS)
    scores = engine.scores.score_groups(graph, "l2")
    assert parts.preview.frozen_lines(graph) == ["not pruned    2 layers: output"]
    settings = parts.options.Settings(min_channels=4, round_to=4)
    least = parts.preview.ceiling(graph, scores, settings)
    assert least == graph.cost(dict.fromkeys([group.name for group in graph.groups], 4))
    line = parts.preview.ceiling_line(graph, scores, settings)
    assert f"{least.macs / graph.cost().macs:.1%} of the MACs" in line and "floor 4, rounding 4" in line
