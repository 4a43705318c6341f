"""Validate: python val.py --weights runs/exp/weights/best.pt"""

import argparse

import torch
from net import data as datasets


def iou(a, b):
    """Of boxes (n, 4): centre and size."""
    low = torch.maximum(a[:, :2] - a[:, 2:] / 2, b[:, :2] - b[:, 2:] / 2)
    high = torch.minimum(a[:, :2] + a[:, 2:] / 2, b[:, :2] + b[:, 2:] / 2)
    inter = (high - low).clamp(min=0).prod(1)
    return inter / (a[:, 2:].prod(1) + b[:, 2:].prod(1) - inter)


def best_rows(out):
    """The surest cell of each image: (b, 6) centre, size, confidence, class."""
    score, kind = (out[..., 4:5] * out[..., 5:]).max(-1)
    at = score.argmax(1)
    rows = torch.arange(len(out))
    return torch.cat((out[rows, at, :4], score[rows, at, None], kind[rows, at, None].float()), 1)


def run(model, data, imgsz=32, batch=8):
    """Share of squares found at an overlap of 0.5, and over 0.5 to 0.95."""
    place = next(model.parameters()).device if isinstance(model, torch.nn.Module) else torch.device("cpu")
    if isinstance(model, torch.nn.Module):
        model.eval()
    right = []
    with torch.no_grad():
        for images, labels in datasets.loader(data, "val", imgsz, batch):
            found = best_rows(model(images.to(place)).float().cpu())
            right.append(iou(found[:, :4], labels[:, 1:]) * (found[:, 5] == labels[:, 0]))
    right = torch.cat(right)
    hits = [float((right >= t / 100).float().mean()) for t in range(50, 100, 5)]
    return hits[0], sum(hits) / len(hits)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--weights", required=True)
    parser.add_argument("--data", default="cfg/squares.yaml")
    parser.add_argument("--imgsz", type=int, default=32)
    opt = parser.parse_args()
    network = torch.load(opt.weights, map_location="cpu", weights_only=False)["model"]
    print("map50 {:.3f} map {:.3f}".format(*run(network, datasets.read(opt.data), opt.imgsz)))
