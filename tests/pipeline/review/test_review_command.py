"""dml review: what it opens, prints, refuses, and leaves behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

import cli
from pipeline.audit.decisions import read_decisions
from pipeline.audit.findings import Findings
from pipeline.review import serving

IDS = [f"{row:04}.jpg" for row in range(8)]


@pytest.fixture
def audited(home: Path, make_findings: Callable[..., Findings]) -> Path:
    """The working folder, with an audit of the store."""
    found = make_findings(ids=IDS, store=str(home / "features.zarr"), settings={"run": None})
    found.save(Path("dml-out/audit"))
    return home


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Stands for the browser and who sits before it: does something, then presses Ctrl-C."""

    def comes(does: Callable[[httpx.Client], object], end: int = signal.SIGINT) -> None:
        def sits_down(url: str) -> None:
            with httpx.Client(base_url=url.partition("/?")[0], trust_env=False) as client:
                assert client.get(url).status_code == 200
                try:
                    does(client)
                finally:
                    os.kill(os.getpid(), end)

        def opens(url: str) -> None:
            threading.Thread(target=sits_down, args=(url,), daemon=True).start()

        monkeypatch.setattr(serving, "open_browser", opens)

    return comes


def decide(row: int, decision: str, label: str = "") -> Callable[[httpx.Client], object]:
    body = {"row": row, "decision": decision, "label": label}

    def does(client: httpx.Client) -> object:
        return client.post("/api/decide", json=body).raise_for_status()

    return does


def test_it_ends_with_what_was_decided_and_where(
    audited: Path, dml: Any, person: Callable[..., None]
) -> None:
    person(decide(1, "relabel", "3"))  # a class of the store that no finding has
    answer = dml("review")
    assert answer.code == 0
    assert answer.out.splitlines() == [
        "dml-out/audit/decisions.csv: 1 decisions (0 keep, 1 relabel, 0 drop), "
        "4 of 5 suspects undecided",
        f"next: dml labels apply dml-out/audit/decisions.csv --store {audited / 'features.zarr'}",
    ]
    assert "reviewing dml-out/audit: http://127.0.0.1:" in answer.err
    assert read_decisions(Path("dml-out/audit/decisions.csv"))["0001.jpg"].label == "3"


def test_what_was_decided_becomes_corrected_labels(
    audited: Path, dml: Any, person: Callable[..., None]
) -> None:
    person(decide(1, "relabel", "3"))
    dml("review")
    answer = dml("labels apply dml-out/audit/decisions.csv --json").json()
    assert answer["decisions"]["relabel"] == 1


def test_terminated_it_ends_the_same_way_and_prints_json(
    audited: Path, dml: Any, person: Callable[..., None]
) -> None:
    person(decide(6, "drop"), signal.SIGTERM)
    found = dml("review dml-out/audit --json --out mine.csv").json()
    assert found == {
        "audit": "dml-out/audit",
        "decisions": "mine.csv",
        "keep": 0,
        "relabel": 0,
        "drop": 1,
        "decided": 1,
        "suspects": 5,
        "undecided": 5,
        "next": f"dml labels apply mine.csv --store {audited / 'features.zarr'}",
    }


def test_where_nothing_is_decided_nothing_is_written(
    audited: Path, dml: Any, person: Callable[..., None]
) -> None:
    person(lambda client: None)
    answer = dml("review")
    assert answer.out == "nothing was decided, no file was written: 5 of 5 suspects undecided\n"
    assert not Path("dml-out/audit/decisions.csv").exists()


def test_a_second_reviewer_is_refused_while_the_first_one_is_there(
    audited: Path, dml: Any, person: Callable[..., None]
) -> None:
    codes = []
    person(lambda client: codes.append(cli.main(["review", "--no-browser"])))
    answer = dml("review")
    assert (answer.code, codes) == (0, [2])
    line = answer.err.splitlines()[-1]
    assert line.startswith(f"dml: process {os.getpid()} of ")
    words = r"has been reviewing dml-out/audit for \d+ s: wait until that review has ended"
    assert re.search(words, line)


@pytest.mark.slow
def test_a_killed_review_loses_nothing_and_the_next_one_goes_on(
    audited: Path, dml: Any, person: Callable[..., None]
) -> None:
    words = [sys.executable, "-c", "import cli; cli.run()", "review", "--no-browser"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        url = process.stderr.readline().split()[2]
        with httpx.Client(base_url=url.partition("/?")[0], trust_env=False) as client:
            client.get(url)
            for row in range(5):
                decide(row, "drop")(client)
        process.kill()
    person(lambda client: client.post("/api/undo", json={}))
    assert dml("review").out.startswith("dml-out/audit/decisions.csv: 4 decisions (0 keep, 0 rel")
    assert list(read_decisions(Path("dml-out/audit/decisions.csv"))) == IDS[:4]


# What it is pointed at


def test_without_an_audit_it_says_what_to_do(home: Path, dml: Any) -> None:
    assert "no audit at dml-out/audit: run `dml audit` first" in dml("review").refusal()
    assert "no audit at nowhere: run `dml audit --out nowhere`" in dml("review nowhere").refusal()


def test_a_run_stands_for_its_audit(
    audited: Path,
    dml: Any,
    person: Callable[..., None],
    make_findings: Callable[..., Findings],
) -> None:
    dml("train --loss prism --run r --dim 8 --epochs 1")
    assert "r has no audit: run `dml audit r` first" in dml("review r").refusal()
    found = make_findings(ids=IDS, store=str(audited / "features.zarr"), settings={"run": "r"})
    found.save(Path("dml-out/audit"))
    person(decide(0, "keep"))
    assert dml("review r --json").json()["audit"] == "dml-out/audit"


@pytest.mark.parametrize(
    ("ids", "place", "word"),
    [
        ([f"other{row}" for row in range(8)], "features.zarr", "the audit is of other images"),
        (IDS, "gone.zarr", "there is no feature store at"),
    ],
)
def test_an_audit_of_other_images_is_refused(
    home: Path,
    dml: Any,
    make_findings: Callable[..., Findings],
    ids: list[str],
    place: str,
    word: str,
) -> None:
    make_findings(ids=ids, store=str(home / place), settings={"run": None}).save(Path("audit"))
    assert word in dml("review audit").refusal()
    assert not Path("audit/review").exists()


def test_a_port_that_is_taken_is_refused(audited: Path, dml: Any) -> None:
    with serving._listening(0) as listener:
        port = listener.getsockname()[1]
        line = dml(f"review --no-browser --port {port}").refusal()
    assert f"--port {port}: address already in use; choose another" in line


def test_a_file_that_is_there_is_not_overwritten(audited: Path, dml: Any) -> None:
    Path("mine.csv").write_text("precious")
    assert "mine.csv exists" in dml("review --no-browser --out mine.csv").refusal()
    assert "is a folder" in dml("review --no-browser --out dml-out").refusal()
