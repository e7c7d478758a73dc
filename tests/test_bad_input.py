"""Bad input: one clear line, exit code 2, nothing changed, and it says what to do next."""

from __future__ import annotations

import errno
import json
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


@contextmanager
def no_file_beyond(size: int) -> Iterator[None]:
    """A disk on which no file can grow beyond a size, in bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def refusal(answer: Any) -> str:
    """The one line of a refused command."""
    return str(answer.refusal())


TRAINING = {
    "--loss prsim": "unknown loss 'prsim': did you mean 'prism'?",
    "--loss qqq": "unknown loss 'qqq': choose from auto, none, ",
    "--select prims": "unknown selection 'prims': did you mean 'prism'?",
    "--noise symetric:0.5": "unknown noise 'symetric': did you mean 'symmetric'?",
    "--noise symmetric": "noise 'symmetric' has no rate: expected for example symmetric:0.4",
    "--noise symmetric:1.5": "rate of symmetric is 1.5: expected a number at least 0, at most 1",
    "--noise symmetric:many": "rate of symmetric is 'many': expected a number",
    "--noise symmetric:NaN": "rate of symmetric is nan: expected a number",
    "--noise symmetric:0.5,foo=1": "unknown option of symmetric 'foo': choose from rate, mode",
    "--noise symmetric:0.5,0.6": "'0.6' is not of the form key=value",
    "--noise symmetric:0.5,mode=exakt": "'exakt': expected 'exact' or 'independent'",
    "--loss proxy-anchor --set loss.scale=-3": "scale of proxy-anchor is -3: expected a number "
    "above 0",
    "--loss proxy-anchor --set loss.scale=nan": "is 'nan': expected a number above 0",
    "--loss proxy-anchor --set loss.scale=NaN": "is nan: expected a number above 0",
    "--loss proxy-anchor --set loss.scale=Infinity": "is inf: expected a number above 0",
    "--loss proxy-anchor --set loss.scale=large": "is 'large': expected a number above 0",
    "--loss proxy-anchor --set loss.scale=true": "is True: expected a number above 0",
    "--loss proxy-anchor --set loss.margn=1": "option of proxy-anchor 'margn': did you mean "
    "'margin'?",
    "--loss prism --set select.noise_rate=2": "expected a number at least 0, at most 1 or 'auto'",
    "--loss prism --set select.noise_rate=car": "expected a number at least 0, at most 1 or 'auto'",
    "--loss prism --set select.passes=0": "of prism is 0: expected a whole number at least 1",
    "--loss prism --set select.passes=1.5": "of prism is 1.5: expected a whole number at least 1",
    "--loss prism --select confidence --set select.folds=1": "expected a whole number at least 2",
    "--loss prism --select none --set select.scale=1": "option of none 'scale': there is nothing",
    "--loss none --set loss.scale=1": "--loss none trains nothing and takes no loss options",
    "--loss triplet --select prism-queue": "prism-queue needs --set select.noise_rate=VALUE: it",
    "--loss prism --set lr=0": "lr is 0: expected a number above 0",
    "--loss prism --set lr=NaN": "lr is nan: expected a number above 0",
    "--loss prism --set lr=fast": "lr is 'fast': expected a number above 0",
    "--loss prism --set lr=1e9": "training diverged",
    "--set epochs=true": "epochs is True: expected a whole number at least 1",
    "--set noise=3": "noise is 3: expected a word",
    "--set loss=3": "loss is 3: expected a word",
    "--set bank=ful": "bank is 'ful': expected 'full' or 'queue'",
    "--set los.scale=3": "unknown group of options 'los': did you mean 'loss'?",
    "--set epoch=3": "unknown key in --set 'epoch': did you mean 'epochs'?",
    "--set options=3": "unknown key in --set 'options'",
    "--set epochs": "--set 'epochs': expected key=value, for example loss.margin=0.2",
    "--loss prism --epochs 0": "epochs is 0: expected a whole number at least 1",
    "--epochs many": "--epochs",
    "--dim 0": "dim is 0: expected a whole number at least 1",
    "--loss prism --batch-size 0": "batch_size is 0: expected a whole number at least 1",
    "--loss prism --batch-size 2": "2: loss memory-contrastive needs at least rows_per_class (4)",
    "--seed -1": "seed is -1: expected a whole number at least 0",
    f"--seed {10**25}": "at most 4294967295",
    "--protocol zero": "'zero' is not one of 'query-gallery', 'class-disjoint'",
    "--device tpu": "'tpu' is not one of",
    "--epoch 3": "No such option: --epoch",
    "prism": "unexpected extra argument",
    "--store nowhere": "run `dml extract` first, or name another one with --store",
    "--store pictures": "is not a feature store: choose another --store",
    "--store half.zarr": "(100 of 288 rows) are there: run `dml extract` again to make the rest",
    "--store plain.zarr --protocol query-gallery": "use --protocol class-disjoint or add the",
    "--run pictures": "pictures exists: choose another --run or remove it",
    "--run file.txt/run": "file.txt: choose another --run",
    "--config nowhere": "cannot read the configuration nowhere (No such file or directory): give",
    "--config pictures": "the folder of a run or its config.json",
    "--config file.txt": "cannot read the configuration file.txt (Expecting value",
    "--config unknown.json": "unknown key in unknown.json: 'los': did you mean 'loss'?",
    "--config list.json": "list.json holds no configuration: expected a JSON object",
    "--config types.json": "epochs is 'many': expected a whole number at least 1",
    "--config options.json": "options in options.json is no JSON object",
    "--config group.json": "unknown group of options 'scale'",
}


@pytest.mark.parametrize("words", TRAINING)
def test_train_refuses(words: str, home: Path, pictures: Path, dml: Any, make_store: Any) -> None:
    if "half" in words:
        make_store(home / "half.zarr", chunks=1)
    if "plain" in words:
        make_store(home / "plain.zarr", splits=None)
    (home / "file.txt").write_text("no configuration")
    configurations = {
        "unknown": {"los": "prism"},
        "list": [1],
        "types": {"epochs": "many"},
        "options": {"options": [1]},
        "group": {"options": {"scale": 3}},
    }
    for name, values in configurations.items():
        (home / f"{name}.json").write_text(json.dumps(values))
    before = sorted(home.rglob("*"))
    assert TRAINING[words] in refusal(dml(f"train {words}"))
    assert sorted(home.rglob("*")) == before


@pytest.mark.parametrize("option", ["--recall", "--map-at"])
@pytest.mark.parametrize("text", ["0,abc", "0", ",", "", "1,-2", "1.5"])
def test_eval_refuses_a_k_that_is_no_list_of_numbers(option: str, text: str, dml: Any) -> None:
    line = refusal(dml("eval", option, text))
    assert line == f"dml: {option} {text!r}: expected whole numbers of at least 1, as in 1,2,4,8"


def test_eval_refuses_groups_that_there_are_not(home: Path, dml: Any) -> None:
    dml("train --loss prism --epochs 1 --dim 8 --run mine")
    assert "'shop' is not one of 'class', 'superlabel'" in refusal(dml("eval mine --by shop"))
    line = refusal(dml("eval mine --by superlabel"))
    assert line.endswith(
        "add a column superlabel to its manifest and extract again, or use --by class"
    )


def test_eval_refuses_what_is_no_run(home: Path, dml: Any) -> None:
    assert "no run was made here yet" in refusal(dml("eval"))
    assert "no run at nowhere: train one with" in refusal(dml("eval nowhere"))


def test_eval_refuses_another_store_and_names_the_right_one(
    home: Path, dml: Any, make_store: Any
) -> None:
    dml("train --loss prism --epochs 1 --run mine")
    make_store(home / "other.zarr", backbone="timm:other")
    line = refusal(dml("eval mine --store other.zarr"))
    assert "mine was trained on a store with fingerprint" in line
    assert f"give the right --store ({home / 'features.zarr'})" in line
    (home / "features.zarr").rename(home / "moved.zarr")
    answer = dml("eval mine")
    assert "the latest store is not at" in answer.err.splitlines()[-1]
    assert dml("eval mine --store moved.zarr").code == 0


@pytest.mark.parametrize("name", ["record.json", "config.json", "weights.safetensors"])
def test_a_damaged_run_is_refused_by_the_file_s_name(home: Path, dml: Any, name: str) -> None:
    dml("train --loss prism --epochs 1 --run mine")
    (home / "mine" / name).write_text("{")
    answer = dml("eval mine")
    assert answer.code == 2
    assert f"mine/{name}" in answer.err.splitlines()[-1]


EXTRACTION = {
    "empty": "holds no images (.bmp, .gif",
    "pictures/cat": "lies in no class folder: put the images of each class into a folder",
    "one": "all 1 images have the label 'cat'",
    "bad": "none of the 2 images can be used, for example a/0.jpg: not a known image format",
    "nowhere": "expected a folder of class folders, a .csv or a .parquet table",
    "missing.csv": "missing.csv has no column 'label', its columns are 'path', 'class'",
    "double.csv": "the id 'pictures/cat/0.png' occurs 2 times: ids must be distinct",
    "pictures --batch-size 0": "the batch size is 0, expected at least 1",
    "pictures --workers 0": "the number of workers is 0, expected at least 1",
    "pictures --dtype float64": "'float64' is not one of 'float16', 'float32'",
    "pictures --pool middle": "unknown pool 'middle': choose from avg, max, avg+max, cls, dist,",
    "pictures --pool avg,avg": "the pool 'avg' occurs twice in 'avg,avg': name each once",
    "pictures --views -1": "the number of views is -1, expected at least 0",
    "pictures --view-scale 0 1": "the scale of views is 0 to 1, expected two shares",
    "pictures --max-pixels 0": "max pixels is 0, expected at least 1",
    "pictures --exif turn": "'turn' is not one of 'ignore', 'rotate'",
    "bad --unreadable stop": "a/0.jpg cannot be read: not a known image format: mend it and go on",
    "pictures --bakbone flat": "No such option: --bakbone",
    "pictures --store other.zarr": 'backbone is "timm:other" there, "flat" is asked for: choose',
    "pictures --store pictures": "pictures is not a feature store: choose another --store",
    "pictures --store missing.csv/s": "cannot write to",
}


@pytest.mark.parametrize("words", EXTRACTION)
def test_extract_refuses(
    words: str, home: Path, pictures: Path, dml: Any, flat_backbone: Any, make_store: Any
) -> None:
    for name in ("empty", "one/cat", "bad/a", "bad/b"):
        (home / name).mkdir(parents=True)
    (home / "one" / "cat" / "0.png").write_bytes((pictures / "cat" / "0.png").read_bytes())
    for name in ("bad/a", "bad/b"):
        (home / name / "0.jpg").write_text("no picture")
    (home / "missing.csv").write_text("path,class\npictures/cat/0.png,cat\n")
    (home / "double.csv").write_text("path,label\n" + "pictures/cat/0.png,cat\n" * 2)
    if "other" in words:
        make_store(home / "other.zarr", backbone="timm:other")
    store = "" if "--store" in words else "--store new.zarr"
    assert EXTRACTION[words] in refusal(dml(f"extract {words} {store}"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--backbone resnet51", "unknown backbone 'resnet51': did you mean 'resnet50'?"),
        ("--backbone efficientnet_lite0 --weights no.pth", "the weights no.pth do not exist"),
        ("--backbone efficientnet_lite0 --weights text.pth", "weights text.pth cannot be read"),
    ],
)
def test_extract_refuses_an_unknown_backbone_or_weights(
    words: str, said: str, pictures: Path, dml: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pictures.parent)
    Path("text.pth").write_text("no weights")
    assert said in refusal(dml(f"extract pictures {words}"))
    assert not Path("dml-out").exists()


def test_a_full_disk_is_told_and_the_extraction_goes_on(
    pictures: Path, dml: Any, flat_backbone: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.chdir(pictures.parent)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert "no space left on device" in refusal(dml("extract pictures"))
    assert dml("extract pictures").code == 0


def test_a_run_that_does_not_fit_on_the_disk_leaves_nothing_behind(home: Path, dml: Any) -> None:
    with no_file_beyond(4096):
        line = refusal(dml("train --loss prism --epochs 1 --run mine"))
    assert line == "dml: cannot write the run mine: file too large; make room and train again"
    assert sorted(path.name for path in home.iterdir()) == ["dml-out", "features.zarr"]


def test_a_folder_that_cannot_be_written_is_refused_before_training(
    home: Path, dml: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda _, mode: not mode & os.W_OK)  # root may write anywhere
    monkeypatch.setattr("pipeline.train.learn", None)
    assert (
        refusal(dml("train")) == f"dml: cannot write into {home / 'dml-out'}: choose another --run"
    )


def test_a_mistyped_command_or_list_is_refused(dml: Any) -> None:
    assert "Did you mean 'train'?" in refusal(dml("trian"))
    assert "'los' is not one of 'losses', 'selections'" in refusal(dml("list los"))


@pytest.mark.parametrize(
    "line", ["train --run s3://bucket/run", "ablate --out s3://bucket/ablation --seeds 1"]
)
def test_results_are_not_written_to_urls(home: Path, dml: Any, line: str) -> None:
    assert "kept on this machine, s3:/bucket" in refusal(dml(line))
    assert not (home / "s3:").exists()


def test_info_refuses_what_is_neither_store_nor_run(home: Path, dml: Any) -> None:
    (home / "folder").mkdir()
    assert "there is no feature store at" in refusal(dml("info folder"))
    (home / "folder" / "file").touch()
    assert "folder is not a feature store" in refusal(dml("info folder"))
    assert "there is no feature store at" in refusal(dml("info nowhere"))
