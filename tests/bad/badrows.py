# SPDX-License-Identifier: AGPL-3.0-or-later
"""The table of bad inputs: what is typed, by upstream. Files are those of badfiles.py."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

Row = tuple[str, list[str]]  # name, script and words


@dataclass(frozen=True)
class Flags:
    """How one upstream spells what all of them have.

    `floats` and `ints` are flags that take such a number; `quiet` are the words of a run without pictures.
    """

    name: str
    floats: str
    ints: str
    size: str = "--imgsz"
    batch: str = "--batch-size"
    files: str = "--hyp"
    quiet: str = ""


V8_FLOATS = (
    "lr0 lrf momentum weight_decay warmup_epochs warmup_momentum warmup_bias_lr box cls dfl pose kobj hsv_h hsv_s "
    "hsv_v degrees translate scale shear perspective flipud fliplr bgr mosaic mixup cutmix copy_paste erasing iou "
    "dropout fraction time conf multi_scale sparsity distill prune_ratio target_macs target_params "
    "target_latency max_map_drop"
)
V8_INTS = (
    "epochs patience batch workers nbs close_mosaic max_det mask_ratio save_period freeze vid_stride steps round_to "
    "min_channels seed"
)
OWN_FLOATS = "prune-ratio target-macs target-params target-latency max-map-drop sparsity distill"
OWN_INTS = "steps round-to min-channels seed"
# Values that are no numbers, or that nobody can mean: for each flag, and for those that are prunekit's own to read.
FLOAT_VALUES, MORE_FLOAT_VALUES = ("nan", "-1"), ("1e309", "text")
INT_VALUES, MORE_INT_VALUES = ("-7", "99999999999999999999"), ("1.5", "nan", "text")
# Plans, tables and settings are read by the engine, the same in every fork: all of these files are typed into one, and
# into the others some of each kind.
WHOLE = "v5"
SOME = (
    *("p_deep", "p_folder", "p_list", "p_name_none", "p_seed_text", "p_tag"),
    *(f"p_keep_{value}" for value in ("float", "huge", "inf", "list", "minus", "nan", "none", "text", "true")),
    *("t_broken", "t_deep", "t_folder", "t_row_list", "t_text", "t_units_list"),
    *("t_real_nan", "t_real_none", "t_real_text"),
    *("c_date", "c_deep", "c_inf", "c_list", "c_nan", "c_tag", "c_words", "d_pipe"),
)
FLAGS = {
    "v8": Flags("v8", V8_FLOATS, V8_INTS, batch="--batch", files="--cfg", quiet="--plots False"),
    "v5": Flags(
        "v5",
        f"label-smoothing {OWN_FLOATS}",
        f"epochs workers patience save-period freeze bbox_interval mask-ratio {OWN_INTS}",
        quiet="--noplots",
    ),
    "v7": Flags(
        "v7",
        f"label-smoothing {OWN_FLOATS}",
        f"epochs workers save_period freeze bbox_interval {OWN_INTS}",
        size="--img-size",
    ),
}
# Files that look odd and are none the worse for it: what is wrong in them is not read, or is made anew.
FINE = (
    "best",
    "net",
    "args_list",
    "args_none",
    "args_words",
    "epoch",
    "hyp",
    "names_few",
    "names_gone",
    "opt_none",
    "opt_text",
    "opt_words",
    "remembers",
    "stride_gone",
    "train_list",
    "train_none",
)
# The same of data sets: a damaged image or label among good ones is left out by upstream, which says so.
FINE_DATA = {
    "v8": (
        "d_names_tree",
        "d_no_names",
        "s_class_float",
        "s_img_newline",
        "s_latin",
        "s_many",
        "s_zero_box",
    ),
    "v5": (
        "s_class_float",
        "s_img_newline",
        "s_latin",
        "s_many",
        "s_zero_box",
        *(f"d_nc_{kind}" for kind in ("list", "minus", "nan", "none", "other", "text", "zero")),
    ),
    "v7": ("s_class_float", "s_img_newline", "s_latin", "s_zero_box", "d_path_list", "d_path_number"),
}
# The same of what is typed into an ultralytics fork: a range to both sides, a share of the memory, any idle device.
FINE_LINES = (
    "degrees -1",
    "shear -1",
    "batch 0.5",
    "device '-1,-1'",
)
# Configurations whose bad value the command line replaces, an empty one, and one whose odd letters upstream leaves out.
REPLACED = ("cfg", "data", "date", "epochs", "latin", "lists", "map", "model", "null")
FINE_LINES += tuple(f"{script}--cfg c_{name}.yaml" for script in ("", "yolo11 ") for name in REPLACED)
FINE_LINES += ("train_sparse --project a_file",)  # a relative project lies below runs/, where a_file is none
DEVICES = (
    "cuda:99",
    "foo",
    "-5",
    "0,0",
    "cpu,0",
    "99999999999",
    "cuda",
    "1.5",
    "cpu:7",
    "\u00b2",
    "a\nb",
    "xpu",
    "-1,-1",
)


def rows(upstream: str, folder: Path) -> list[Row]:
    """The whole table of one upstream (v8, v5, v7); the files lie in `folder`."""
    flags = FLAGS[upstream]
    good = ["--weights", "best.pt", "--data", "tiny.yaml", *settings(flags)]
    found: list[Row] = []
    add = found.append
    for file in sorted(folder.glob("*.pt")):
        if file.stem not in FINE:
            add((f"checkpoint {file.name}", ["prune_one_shot.py", *_with(good, "--weights", file.name)]))
    for file in (*sorted(path.name for path in folder.glob("foreign.*")), "/proc/self/mem", "/dev/zero", "."):
        add((f"weights {file}", ["prune_one_shot.py", *_with(good, "--weights", file)]))
    for script, more in (("prune.py", ["--plan-only"]), ("prune.py", []), ("sensitivity.py", []), ("quantify.py", [])):
        words = [script, "--weights", "was/weights/best.pt", flags.size, "64", *more]
        add((f"{' '.join([script, *more])}, its data set is gone", words))
    for file in ("whole", "stride_none", "yaml_none", "names_none", "loop", "folder", "none"):
        add((f"plan-only {file}.pt", ["prune.py", *_with(good, "--weights", f"{file}.pt"), "--plan-only"]))
        add((f"latency {file}.pt", ["latency.py", "--dense", f"{file}.pt", "--pruned", "best.pt", flags.size, "64"]))
        add((f"inspect {file}.pt", ["inspect_bn.py", "--weights", f"{file}.pt"]))
        add((f"sparse {file}.pt", ["train_sparse.py", *_with(good, "--weights", f"{file}.pt")]))
        add((f"sparse --resume {file}.pt", ["train_sparse.py", "--resume", f"{file}.pt"]))
        if upstream == "v7":
            add((f"reparameterize {file}.pt", ["reparameterize.py", "--weights", f"{file}.pt"]))
            add((f"yaml {file}.pt", ["generate_prune_yaml.py", "--weights", f"{file}.pt", "--model", "net.yaml"]))
    for file in sorted([*folder.glob("d_*.yaml"), *folder.glob("s_*.yaml")]):
        if file.stem.endswith("_one") or file.stem in FINE_DATA[upstream]:
            continue
        add((f"data {file.name}", ["prune_one_shot.py", *_with(good, "--data", file.name), "--epochs", "1"]))
    if upstream != "v8":  # whose reader of images takes such a name
        add(("repair on s_img_latin_train", ["prune_one_shot.py", *_with(good, "--data", "s_img_latin_train.yaml")]))
    for name in ("d_no_val", "d_text", "d_binary", "d_deep", "d_loop", "nowhere", "s_img_empty", "s_class_out"):
        for script, more in (
            ("prune.py", ["--plan-only"]),
            ("sensitivity.py", ["--out", "t.json"]),
            ("quantify.py", []),
        ):
            words = good if script == "prune.py" else [*good[:4], flags.size, "64"]
            add((f"{script} {name}", [script, *_with(words, "--data", f"{name}.yaml"), *more]))
        if not name.startswith("s_"):
            add((f"train_sparse {name}", ["train_sparse.py", *_with(good, "--data", f"{name}.yaml"), "--epochs", "1"]))
    found += _values(flags, good)
    found += _records(flags, good, folder)
    found += _places(good)
    found += _other_scripts(flags)
    return [row for row in found if upstream != "v8" or row[0] not in FINE_LINES]


def settings(flags: Flags) -> list[str]:
    """As little work as a run can be."""
    small = f"--round-to 8 --no-export --epochs 0 --device cpu --workers 0 {flags.size} 64 {flags.batch} 8"
    return f"{small} {flags.quiet}".split()


def _with(words: list[str], flag: str, value: str) -> list[str]:
    """The words with another value after a flag."""
    made = list(words)
    made[made.index(flag) + 1] = value
    return made


def _values(flags: Flags, good: list[str]) -> Iterator[Row]:
    """Numbers that are none, or that nobody can mean."""
    for names, own, each, more in (
        (flags.floats, OWN_FLOATS, FLOAT_VALUES, MORE_FLOAT_VALUES),
        (flags.ints, OWN_INTS, INT_VALUES, MORE_INT_VALUES),
    ):
        first, *_ = names.split()
        for flag in names.split():
            read_here = flag == first or flag.replace("_", "-") in own.split()
            for value in (*each, *(more if read_here else ())):
                yield f"{flag} {value}", ["prune_one_shot.py", *good, "--epochs", "1", f"--{flag}", value]
    for value in (
        "0",
        "-64",
        *(["1"] if flags.name == "v8" else []),
        "1000000",
        "99999999999999999999",
        "nan",
        "1e309",
        "text",
        "64.5",
    ):
        yield f"size {value}", ["prune_one_shot.py", *_with(good, flags.size, value)]
    for value in ("0", "-7", "99999999999999999999", "nan", "0.5", "text", "3.7"):
        yield f"batch {value}", ["prune_one_shot.py", *_with(good, flags.batch, value), "--epochs", "1"]
    for value in DEVICES:
        yield f"device {value!r}", ["prune_one_shot.py", *_with(good, "--device", value)]
    yield "freeze 999", ["prune_one_shot.py", *good, "--epochs", "1", "--freeze", "999"]
    if flags.name == "v8":
        for flag, value in (
            ("nbs", "0"),
            ("freeze", "[0,1,99]"),
            ("freeze", "['a']"),
            ("classes", "99"),
            ("classes", "text"),
            ("task", "segment"),
            ("task", "x"),
            ("imgsz", "[64,64]"),
            ("imgsz", "[0,64]"),
            ("optimizer", "5"),
            ("cache", "nowhere"),
            ("save", "maybe"),
            ("cos_lr", "5"),
            ("rect", "text"),
            ("pretrained", "nowhere.pt"),
            ("augmentations", "5"),
            ("copy_paste_mode", "x"),
            ("split", "x"),
            ("single_cls", "text"),
        ):
            yield f"{flag}={value}", ["prune_one_shot.py", *good, "--epochs", "1", f"{flag}={value}"]
    else:
        for value in ("a", "0 1 99", "-1"):
            yield f"freeze {value}", ["prune_one_shot.py", *good, "--epochs", "1", "--freeze", *value.split()]


def _records(flags: Flags, good: list[str], folder: Path) -> Iterator[Row]:
    """Plans, tables, records of runs and files of settings."""
    bare = [word for word in good if word not in ("--round-to", "8")] if flags.batch == "--nothing" else good
    for file in _typed(flags, folder.glob("p_*.yaml")):
        words = ["--weights", "best.pt", "--data", "tiny.yaml", *settings(flags)[2:]]
        yield f"plan {file.name}", ["prune.py", *words, "--epochs", "0", "--plan", file.name]
    for file in _typed(flags, folder.glob("t_*.json")):
        yield f"table {file.name}", ["prune.py", *bare, "--epochs", "0", "--steps", "1", "--sensitivity", file.name]
    tables = "t_text t_deep t_units_list t_row_list t_folder t_real_nan t_real_text t_real_none".split()
    for name in (file.stem for file in _typed(flags, map(Path, tables))):
        line = ["sensitivity.py", *good[:4], flags.size, "64", "--device", "cpu", "--out", f"{name}.json"]
        yield f"sensitivity into {name}", line
    for file in sorted(folder.glob("r_*")):
        yield f"resume {file.name}", ["prune.py", "--resume", file.name]
        if flags.name == "v7":
            yield f"yaml of {file.name}", ["generate_prune_yaml.py", "--model", "net.yaml", "--weights", file.name]
    for file in sorted(folder.glob("h_*.yaml")):
        yield f"hyp {file.name}", ["prune_one_shot.py", *good, "--epochs", "1", "--hyp", file.name]
    others = (Path("d_folder.yaml"), Path("d_link.yaml"), Path("d_pipe.yaml"))
    configurations = [*sorted(folder.glob("c_*.yaml")), *others]
    for file in configurations if flags.name == "v8" else _typed(flags, configurations):
        yield f"{flags.files} {file.name}", ["prune_one_shot.py", *good, "--epochs", "1", flags.files, file.name]
        if flags.name == "v8" and file.stem in SOME:
            words = ["--model", "best.pt", "--data", "tiny.yaml", "--device", "cpu", "--imgsz", "64"]
            line = ["yolo11_pruning.py", *words, "--iterative-steps", "1", "--epochs", "0", "--cfg", file.name]
            yield f"yolo11 --cfg {file.name}", line


def _typed(flags: Flags, files: Iterable[Path]) -> list[Path]:
    """Those of the engine's files that are typed into this upstream's fork."""
    return sorted(file for file in files if flags.name == WHOLE or file.stem in SOME)


def _places(good: list[str]) -> Iterator[Row]:
    """Where a run cannot go."""
    work = ["prune_one_shot.py", *good, "--epochs", "0"]
    long, odd = "x" * 300, "a\nb"
    for name, words in {
        "project is a file": ["--project", "a_file"],
        "project in a file": ["--project", "a_file/runs"],
        "project in /proc": ["--project", "/proc/x"],
        "project loops": ["--project", "loop.pt"],
        "name too long": ["--name", long],
        "name of two lines": ["--name", odd],
        "name is a file": ["--project", ".", "--name", "a_file"],
    }.items():
        yield name, [*work, *words]
        yield f"{name}, plan only", [*work, *words, "--plan-only"]
    quantize = ["quantify.py", *good[:4], "--device", "cpu", "--calibration-images", "4"]
    yield "quantify into a file", [*quantize, "--project", "a_file"]
    yield "weights of two lines", ["prune_one_shot.py", *_with(good, "--weights", "a\nb.pt")]
    yield "weights not UTF-8", ["prune_one_shot.py", *_with(good, "--weights", "caf\udce9.pt")]
    yield "data not UTF-8", ["prune_one_shot.py", *_with(good, "--data", "caf\udce9.yaml")]
    yield "data of two lines", ["prune_one_shot.py", *_with(good, "--data", "a\nb.yaml")]
    yield "data is a pipe", ["prune_one_shot.py", *_with(good, "--data", "d_pipe.yaml")]
    yield "data is a device", ["prune_one_shot.py", *_with(good, "--data", "/dev/zero")]
    yield "plan is a device", ["prune.py", *good, "--plan", "/dev/zero"]
    yield "data is a folder", ["prune_one_shot.py", *_with(good, "--data", "sets")]
    yield "data is nothing", ["prune_one_shot.py", *_with(good, "--data", "")]
    yield "data is a loop", ["prune_one_shot.py", *_with(good, "--data", "loop.pt")]
    yield "weights with a long name", ["prune_one_shot.py", *_with(good, "--weights", long + ".pt")]
    yield "data with a long name", ["prune_one_shot.py", *_with(good, "--data", long + ".yaml")]
    yield "ignore nothing", [*work, "--ignore", ""]
    yield "ignore two lines", [*work, "--ignore", odd]
    yield "resume a file", ["prune.py", "--resume", "a_file"]
    yield "resume a loop", ["prune.py", "--resume", "loop.pt"]
    yield "resume two lines", ["prune.py", "--resume", odd]
    yield "resume nothing", ["prune.py", "--resume", ""]
    yield "resume a long name", ["prune.py", "--resume", long]


def _each(line: str, tails: str) -> Iterator[Row]:
    """A line with each tail (`|` between them) behind it; named by the script and the tail."""
    script, *words = line.split()
    for tail in tails.split("|"):
        yield f"{script.removesuffix('.py')} {tail.strip()}", [script, *words, *tail.split()]


def _other_scripts(flags: Flags) -> Iterator[Row]:
    """latency.py, quantify.py, deploy.py, sensitivity.py and the scripts of one upstream."""
    nines = "9" * 20
    yield from _each(
        f"latency.py --dense best.pt --pruned best.pt {flags.size} 64 --device cpu --runtime torch",
        f"--rounds 0 | --rounds -1 | --threads 0 | --threads {nines} | --limit nan | --limit -1 | --limit text"
        " | --json r_list | --json /proc/x/y.json | --runtime magic | --json a_file/x.json | --threads 1000000",
    )
    data = f"--weights best.pt --data tiny.yaml {flags.size} 64 --device cpu"
    yield from _each(
        f"quantify.py {data}",
        f"--calibration-images -1 | --calibration-images text | --max-map-drop nan | --threads {nines}"
        " | --method magic | --threads -1",
    )
    yield from _each(
        f"deploy.py {data}",
        "--max-map-drop nan | --target-latency 2 | --threads 0 | --runtime magic | --weights best_int8.onnx",
    )
    yield from _each("deploy.py", "--resume a_file")
    yield from _each(
        f"sensitivity.py {data}",
        "--ratios nan | --ratios text | --ratios 0 | --ratios 1e309 | --ratios | --out r_list | --out x.png"
        " | --out a_file/t.json | --out /proc/x/t.json | --importance magic",
    )
    yield from _sparse(flags)
    if flags.name == "v7":
        yield from _v7()


def _sparse(flags: Flags) -> Iterator[Row]:
    yield from _each(
        f"train_sparse.py --weights best.pt --data tiny.yaml {flags.size} 64 --device cpu --epochs 1",
        "--sparsity nan | --sparsity 1e309 | --sparsity -1 | --sparsity-beta nan | --epochs -1"
        f" | {flags.size} 1000000 | --workers -7 | {flags.batch} -7 | {flags.batch} {'9' * 20} | --project a_file"
        " | --freeze 999 | --device foo | --project /proc/x | --weights caf\udce9.pt",
    )
    inspect = "inspect_bn.py --weights best.pt"
    tails = "--keep nan | --keep 0 | --keep text | --png r_list | --png /proc/x/y.png | --png a_file/x.png"
    yield from _each(inspect, tails)
    yield "inspect_bn --png ", [*inspect.split(), "--png", ""]


def _v7() -> Iterator[Row]:
    yield from _each(
        "generate_prune_yaml.py --weights best.pt",
        "--model d_binary.yaml | --model d_deep.yaml | --model d_list.yaml | --model d_folder.yaml"
        " | --model nowhere.yaml | --model tiny.yaml | --model n_rows.yaml | --model n_words.yaml"
        " | --model net.yaml --pruned_model a_file/x.yaml | --model net.yaml --pruned_model d_folder.yaml"
        " | --model loop.pt | --model d_intkeys.yaml | --model d_loop.yaml",
    )
    yield from _each(
        "reparameterize.py --weights best.pt",
        "--output folder.pt | --output a_file/x.pt | --output /proc/x.pt | --output loop.pt",
    )
    base = "prune_one_shot.py --weights best.pt --data tiny.yaml --device cpu --epochs 0 --no-export".split()
    for name in ("d_binary", "d_deep", "d_list", "d_intkeys", "n_rows", "n_words", "d_loop"):
        yield f"--cfg {name}", [*base, "--cfg", f"{name}.yaml", "--img-size", "64"]
