"""Export: python export.py --weights best.pt writes best.onnx beside it."""

import argparse
from pathlib import Path

import torch


def run(weights, imgsz=32):
    model = torch.load(weights, map_location="cpu", weights_only=False)["model"].eval()
    file = Path(weights).with_suffix(".onnx")
    image = torch.zeros(1, 3, imgsz, imgsz)
    torch.onnx.export(model, (image,), str(file), dynamo=False, input_names=["images"], output_names=["rows"])
    return file


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--weights", required=True)
    print(run(parser.parse_args().weights))
