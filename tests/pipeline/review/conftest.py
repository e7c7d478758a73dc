"""An audit of eight images with hostile names, and the page that reviews it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from PIL import Image
from starlette.testclient import TestClient

from pipeline.audit.findings import PAIRS_SCHEMA, SCHEMA, Findings
from pipeline.review.app import make_app
from pipeline.review.journal import open_journal
from pipeline.review.pictures import Pictures
from pipeline.review.session import Session
from pipeline.review.suspects import Suspects

PORT, TOKEN = 8765, "the-token"
HERE = f"http://127.0.0.1:{PORT}"
LABELS = ("<script>alert(1)</script>", "tea & coffee", "tea", "pear")
# No slash in a file name, so nothing closes; browsers would run the handler all the same.
NAMES = ["<img src=x onerror=alert(1)>.png", "a&b.png", *(f"{at}.png" for at in range(2, 8))]
KINDS = ("wrong label", "wrong label", "out of set", "ambiguous", "wrong label", "", "", "")


def make_findings(
    ids: Sequence[str] = tuple(NAMES),
    kinds: Sequence[str] = KINDS,
    labels: Sequence[str] = LABELS,
    **summary: Any,
) -> Findings:
    """Findings of images whose labels go round, each suggested the next label."""
    rows = [
        {
            "id": key,
            "path": key,
            "given_label": labels[at % len(labels)],
            "suggested_label": labels[(at + 1) % len(labels)],
            "label_score": at / len(ids),
            "is_label_issue": bool(kind),
            "p_wrong": 1 - at / len(ids),
            "kind": kind,
            "reason": f"Most neighbours are {labels[(at + 1) % len(labels)]}.",
            "knn": 0.9,
            "centre": 0.8,
            "out_of_fold": 0.7,
            "dynamics": float("nan"),
            "same_class": [ids[(at + 4) % len(ids)], "an id that is not there"],
            "suggested_class": [ids[(at + 1) % len(ids)], ids[(at + 5) % len(ids)]],
        }
        for at, (key, kind) in enumerate(zip(ids, kinds, strict=True))
    ]
    pairs = pa.table({field.name: pa.array([], field.type) for field in PAIRS_SCHEMA})
    return Findings(pa.Table.from_pylist(rows, SCHEMA), pairs, summary)


@pytest.fixture(name="make_findings")
def make_findings_() -> Callable[..., Findings]:
    """The function above."""
    return make_findings


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """The images of all findings but the last, each of one colour."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for at, name in enumerate(NAMES[:-1]):
        Image.new("RGB", (40, 30), (30 * at, 100, 255 - 30 * at)).save(folder / name)
    return folder


@pytest.fixture
def begin(tmp_path: Path) -> Callable[..., Session]:
    """Open the session of a folder, as a process that begins does."""

    def opened(findings: Findings | None = None, out: str = "decisions.csv") -> Session:
        suspects = Suspects(findings or make_findings())
        journal = open_journal(tmp_path / "journal.jsonl", suspects.digest)
        return Session(suspects, journal, tmp_path / out)

    return opened


@pytest.fixture
def session(begin: Callable[..., Session]) -> Session:
    """A review that nothing was decided in."""
    return begin()


@pytest.fixture
def stranger(session: Session, photos: Path) -> Iterator[TestClient]:
    """A client without the cookie."""
    pictures = Pictures(photos, session.suspects.paths)
    app = make_app(session, pictures, title="the audit", token=TOKEN, port=PORT)
    with TestClient(app, base_url=HERE) as client:
        yield client


@pytest.fixture
def page(stranger: TestClient) -> TestClient:
    """A client that opened the address with the token."""
    assert stranger.get("/", params={"token": TOKEN}).status_code == 200
    return stranger
