"""What goes out of a feature file and into one, whatever its format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cache.errors import DmlError, InputError

Kind = Literal["float", "integer", "text", "other"]
Block = NDArray[Any]
FEATURES, FACTS = "features", "dml"
_BLOCK_BYTES = 16 << 20  # of features that are read at a time
_KINDS: dict[str, Kind] = {"f": "float", "i": "integer", "u": "integer", "b": "integer"}


class CellError(InputError):
    """A column holds something else than texts and whole numbers."""


class Form(NamedTuple):
    """What is known of an array before its values are read.

    Attributes:
        shape: its lengths; the first is the number of rows.
        dtype: its number format in words.
        kind: "float", "integer" (bool, too), "text", or "other" for what cannot be used.
    """

    shape: tuple[int, ...]
    dtype: str
    kind: Kind

    @classmethod
    def of(cls, shape: Iterable[int], dtype: np.dtype[Any]) -> Form:
        """Describe an array of numpy's."""
        if dtype.kind in "US":
            return cls(tuple(shape), "text", "text")
        kind = "float" if dtype.name == "bfloat16" else _KINDS.get(dtype.kind, "other")
        return cls(tuple(shape), dtype.name, kind)

    def __str__(self) -> str:
        """Write the form as people do: float32 (100, 512)."""
        return f"{self.dtype} ({', '.join(map(str, self.shape))}{',' * (len(self.shape) == 1)})"


@dataclass(frozen=True)
class Source:
    """A file that is open for reading.

    Attributes:
        path: the file.
        arrays: the form of each array that it holds, by name.
        facts: the JSON text that an export of ours carries.
    """

    path: Path
    arrays: Mapping[str, Form]
    read: Callable[[str, int], Iterator[Block]] = field(repr=False)
    facts: str | None = None

    def blocks(self, name: str, start: int = 0) -> Iterator[Block]:
        """Walk through the rows of an array, in order, from `start` on.

        Yields:
            The next rows, in the form of the file but in this machine's byte order; texts come
            as arrays of str, bytes or objects.

        Raises:
            InputError: the file is damaged or cut off.
        """
        with reading_file(self.path):
            for block in self.read(name, start):
                yield block if block.dtype.isnative else block.astype(block.dtype.newbyteorder("="))

    def texts(self, name: str) -> list[str]:
        """Read a column (N,) of texts or whole numbers as texts; an empty cell is "".

        Raises:
            CellError: its cells are neither.
            InputError: the file is damaged.
        """
        form = self.arrays[name]
        if form.dtype == "object":
            raise CellError(
                f"{name} of {self.path} holds Python objects, which could hide a program: save it "
                "as texts or whole numbers, for example np.array(values, dtype=str)"
            )
        if form.kind == "other" or len(form.shape) != 1:
            raise CellError(
                f"{name} of {self.path} is {form}, expected a text or a whole number for each row"
            )
        cells: list[str] = []
        for block in self.blocks(name):
            cells += [_text(cell, name, row, self.path) for row, cell in _numbered(block, cells)]
        return cells

    def listing(self) -> str:
        """Write what the file holds, for a message."""
        return ", ".join(f"{name} {form}" for name, form in self.arrays.items()) or "nothing"


@dataclass(frozen=True, kw_only=True)
class Content:
    """What is written into a file.

    Attributes:
        shape: (N, F) of the features.
        dtype: of the features, "float16" or "float32".
        blocks: the features (n, F) in order, N rows in all, C-contiguous; they are taken once.
        columns: N texts each, by name; none of them is empty.
        facts: gives the JSON text that stands beside. It is right once all blocks were
            taken; before, it differs in hexadecimal digits alone.
    """

    shape: tuple[int, int]
    dtype: np.dtype[Any]
    blocks: Iterator[Block]
    columns: Mapping[str, Sequence[str]]
    facts: Callable[[], str]


@contextmanager
def reading_file(path: Path) -> Iterator[None]:
    """Turn what goes wrong while a file is read into one line.

    Raises:
        InputError: the file is damaged or not of its format.
    """
    try:
        yield
    except (DmlError, MemoryError):
        raise
    except PermissionError as error:
        raise InputError(f"cannot read {path}: permission denied") from error
    except Exception as error:  # each library has errors of its own
        reason = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
        raise InputError(
            f"{path} cannot be read ({reason}): it is damaged, cut off or not a {path.suffix} file"
        ) from error


def regrouped(blocks: Iterable[Block], ranges: Iterable[range]) -> Iterator[Block]:
    """Cut the rows of ascending ranges out of blocks that begin with the first range.

    Raises:
        EOFError: the blocks end before the last range does.
    """
    source = iter(blocks)
    held, at = np.empty(0), -1  # a block, and the row that it begins with
    for rows in ranges:
        parts: list[Block] = []
        row, at = rows.start, rows.start if at < 0 else at
        while row < rows.stop:
            while row >= at + len(held):
                at += len(held)
                if (block := next(source, None)) is None:
                    raise EOFError(f"row {at + 1} is missing")
                held = block
            parts.append(held[row - at : rows.stop - at])
            row += len(parts[-1])
        yield parts[0] if len(parts) == 1 else np.concatenate(parts)


def block_rows(form: Form) -> int:
    """Return how many rows make a block of good size, at least 1."""
    width = int(np.prod(form.shape[1:])) * (8 if form.kind in ("float", "integer") else 64)
    return max(1, _BLOCK_BYTES // max(width, 1))


def _numbered(block: Block, before: Sequence[str]) -> Iterator[tuple[int, object]]:
    return enumerate(block.tolist(), start=len(before) + 1)


def _text(cell: object, name: str, row: int, path: Path) -> str:
    """Write one cell as text; whole numbers have no decimal point, however they are stored."""
    if isinstance(cell, str):
        return cell
    if cell is None:
        return ""
    if isinstance(cell, bytes):
        try:
            return cell.decode()
        except UnicodeDecodeError as error:
            raise CellError(
                f"row {row} of {name} in {path} is {cell!r:.40}, expected text in UTF-8"
            ) from error
    if isinstance(cell, bool | int) or (isinstance(cell, float) and cell.is_integer()):
        return str(cell if isinstance(cell, bool) else int(cell))
    raise CellError(
        f"row {row} of {name} in {path} is {cell!r:.40}, expected a text or a whole number"
    )
