"""Stanford Online Products: 22,634 products in 12 categories, half of them train.

Layout: `Ebay_train.txt` and `Ebay_test.txt` (header, then image id, class id, super class id and
path) beside 12 folders. The category is the superlabel.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.datasets.official._files import find_base, is_litter, read_fields
from pipeline.datasets.official._listing import Count, Listing, Row
from pipeline.extraction.containers import join

EXPECTED = {"train": (59551, 11318), "test": (60502, 11316)}


def read(root: Path) -> Listing:
    """List the products; the id is the path below the set's folder."""
    base = find_base(root, "Ebay_train.txt", ["Stanford_Online_Products"])
    rows = [
        Row(path, join(base, path), label, split, path.partition("/")[0].removesuffix("_final"))
        for split in EXPECTED
        for _, label, _, path in read_fields(join(base, f"Ebay_{split}.txt"), 4, skip=1)
        if not is_litter(path)
    ]
    categories = len({row.superlabel for row in rows})
    return Listing(rows=rows, expected=EXPECTED, counts=[Count("categories", 12, categories)])
