"""Train: python train.py --cfg cfg/toy.yaml --data cfg/squares.yaml --epochs 10"""

import argparse
from copy import deepcopy
from pathlib import Path

import torch
import val
import yaml
from net import data as datasets
from net.model import Net


def parse_opt():
    parser = argparse.ArgumentParser()
    parser.add_argument("--weights", default="", help="initial weights")
    parser.add_argument("--cfg", default="", help="architecture")
    parser.add_argument("--data", default="cfg/squares.yaml", help="data set")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--imgsz", type=int, default=32)
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--project", default="runs")
    parser.add_argument("--name", default="exp")
    parser.add_argument("--exist-ok", action="store_true")
    return parser.parse_args()


def train(opt):
    torch.manual_seed(0)
    data = datasets.read(opt.data)
    folder = Path(opt.project) / opt.name / "weights"
    folder.mkdir(parents=True, exist_ok=opt.exist_ok)
    (folder.parent / "opt.yaml").write_text(yaml.safe_dump(vars(opt)))
    ckpt = torch.load(opt.weights, map_location="cpu", weights_only=False) if opt.weights else None
    model = Net(opt.cfg or ckpt["model"].yaml, nc=data["nc"])
    if ckpt:
        model.load_state_dict(ckpt["model"].float().state_dict())
    model.names = data["names"]
    model.to(opt.device)
    optimizer = torch.optim.SGD(model.parameters(), opt.lr, momentum=0.9)
    best = -1.0
    for epoch in range(opt.epochs):
        model.train()
        for images, labels in datasets.loader(data, "train", opt.imgsz, opt.batch_size):
            with torch.autocast(torch.device(opt.device).type, torch.bfloat16):
                out = model(images.to(opt.device))
            loss = datasets.loss(out.float(), labels.to(opt.device))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
            optimizer.step()
            optimizer.zero_grad()
        score = val.run(model, data, opt.imgsz)
        print(f"epoch {epoch}: loss {float(loss.detach()):.3f} map50 {score[0]:.3f}")
        state = {"epoch": epoch, "model": deepcopy(model).cpu(), "optimizer": optimizer.state_dict(), "opt": vars(opt)}
        torch.save(state, folder / "last.pt")
        if score[1] >= best:
            best = score[1]
            torch.save(state, folder / "best.pt")


if __name__ == "__main__":
    train(parse_opt())
