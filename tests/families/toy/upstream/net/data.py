"""Images that are made when they are asked for: one square of a colour on noise."""

import torch
import yaml


def read(path):
    with open(path) as file:
        return yaml.safe_load(file)


def sample(index, imgsz):
    """Image (3, imgsz, imgsz), 0 to 1, and label (5): class, centre and size in pixels."""
    g = torch.Generator().manual_seed(index)
    image = torch.rand(3, imgsz, imgsz, generator=g) * 0.4
    kind = int(torch.randint(2, (1,), generator=g))
    side = int(torch.randint(imgsz // 4, imgsz // 2, (1,), generator=g))
    x, y = (int(v) for v in torch.randint(0, imgsz - side, (2,), generator=g))
    image[2 * kind, y : y + side, x : x + side] = 1.0
    return image, torch.tensor([kind, x + side / 2, y + side / 2, side, side], dtype=torch.float32)


def loader(data, split, imgsz, batch):
    """Batches of images and labels; validation has other images than training."""
    first = 0 if split == "train" else 100_000
    for start in range(0, data[split], batch):
        rows = [sample(first + i, imgsz) for i in range(start, min(start + batch, data[split]))]
        yield torch.stack([r[0] for r in rows]), torch.stack([r[1] for r in rows])


def loss(out, labels, stride=4):
    """Of raw outputs (b, 5 + nc, h, w): the cell of the centre is to see the square."""
    b, _, h, w = out.shape
    rows = torch.arange(b)
    gx = (labels[:, 1] / stride).long().clamp(0, w - 1)
    gy = (labels[:, 2] / stride).long().clamp(0, h - 1)
    at = out[rows, :, gy, gx]
    xy = labels[:, 1:3] / stride - torch.stack((gx, gy), 1)
    box = (at[:, :2].sigmoid() - xy).abs().mean() + (at[:, 2:4].sigmoid() - labels[:, 3:5] / stride / 8).abs().mean()
    objects = torch.zeros(b, h, w).to(out)
    objects[rows, gy, gx] = 1.0
    weight = 1 + objects * (h * w / 4)
    obj = torch.nn.functional.binary_cross_entropy_with_logits(out[:, 4], objects, weight)
    cls = torch.nn.functional.cross_entropy(at[:, 5:], labels[:, 0].long())
    return 2 * box + obj + cls
