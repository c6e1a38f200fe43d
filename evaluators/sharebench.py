"""ShareBench: plans of one backbone, trained beforehand, as a table that answers at once.

A table holds, for each canonical plan of a small space, or for some that cover the sizes of a
larger one, how many images each of some seeds got right after each epoch, on the validation and on
the test images, and the seconds an epoch took. Any sampler can be run against it in seconds, and
its front compared with the true one. The idea is that of NAS-Bench-101 (Ying et al. 2019, arXiv
1902.09635, section 2), for sharing plans. The tables are computed by ``benchmarks/sharebench.py``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from isoshare.space.errors import IsoshareError, one_of
from isoshare.space.plan import SharingPlan

Part = Literal["validation", "test"]
PARTS: tuple[Part, ...] = ("validation", "test")
FOLDER = Path(__file__).parent / "tables"
TABLES = {path.stem: path for path in sorted(FOLDER.glob("*.parquet"))}
"""The tables that come with the project."""


KEY = b"isoshare.conditions"


class TableError(IsoshareError):
    """A table that does not exist, or a plan that is not in it."""


@dataclass(frozen=True)
class Table:
    """Plans of a space and what was measured of them.

    conditions: the options of the search that the table answers, as in SearchConfig, with "images",
        the number of images of each part of the data, and "context", which readers need in place
        of the network; "sampled", how its plans were chosen, where they are not all of the space.
    right: for "validation" and "test" how many images were right, (plans, seeds, epochs).
    seconds: of one epoch of one seed, (plans,).
    """

    conditions: dict[str, Any]
    plans: tuple[SharingPlan, ...]
    right: dict[Part, NDArray[np.int64]]
    seconds: NDArray[np.float64]

    @classmethod
    def load(cls, name: str) -> Table:
        """A table that comes with the project, or a file. Raises TableError."""
        from pyarrow import parquet

        conditions = cls.conditions_of(name)
        columns = parquet.read_table(_path(name))
        shape = (columns.num_rows, conditions["seeds"], conditions["config"]["epochs"])
        right: dict[Part, NDArray[np.int64]] = {
            split: np.array(columns[split].to_pylist(), dtype=np.int64).reshape(shape)
            for split in PARTS
        }
        banks = map(json.loads, columns["banks"].to_pylist())
        plans = tuple(map(SharingPlan.restored, banks))
        return cls(conditions, plans, right, columns["seconds"].to_numpy())

    @classmethod
    def conditions_of(cls, name: str) -> dict[str, Any]:
        """The conditions of a table, without the rest. Raises TableError."""
        from pyarrow import ArrowInvalid, parquet

        try:
            written = parquet.read_schema(_path(name)).metadata[KEY]
            found: dict[str, Any] = json.loads(written)
        except (OSError, ArrowInvalid, KeyError, TypeError, ValueError) as error:
            raise TableError(f"{name!r} is not a table of ShareBench: {error}") from error
        return found

    def save(self, path: Path) -> None:
        """Write the table as one Parquet file."""
        import pyarrow as pa
        from pyarrow import parquet

        flat: dict[str, list[list[int]]] = {
            part: [row.ravel().tolist() for row in rows] for part, rows in self.right.items()
        }
        columns = pa.table(
            {
                "banks": [json.dumps(plan.stored) for plan in self.plans],
                "seconds": self.seconds.astype(np.float32),
                **{name: pa.array(rows, pa.list_(pa.int16())) for name, rows in flat.items()},
            },
            metadata={KEY: json.dumps(self.conditions)},
        )
        parquet.write_table(columns, path, compression="zstd")

    @cached_property
    def place(self) -> dict[str, int]:
        """The row of each fingerprint."""
        return {plan.fingerprint: row for row, plan in enumerate(self.plans)}

    def accuracy(self, split: Part) -> NDArray[np.float64]:
        """From 0 to 1, (plans, seeds, epochs)."""
        share = self.right[split] / self.conditions["images"][split]
        return cast("NDArray[np.float64]", share)


def _path(name: str) -> Path:
    path = TABLES.get(name, Path(name))
    if not path.is_file():
        raise TableError(one_of("table", name, TABLES) + ", or give a file")
    return path
