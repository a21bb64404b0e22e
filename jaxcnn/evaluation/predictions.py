"""Files of predictions: one row for each example, as CSV or Parquet.

| column | what |
|---|---|
| `index` | of the example in its split, from 0 |
| `key` | the example's name in its source: a file's path, or `record N` |
| `label` | its class, as a number; of several right ones the first |
| `prediction` | the class with the highest score |
| `correct` | 1 or 0: whether the prediction is right |
| `label_name`, `prediction_name` | their names |
| `confidence` | probability of the prediction |
| `scores` | probabilities: of all classes in their order, or of the highest, highest first |
| `score_classes` | the classes of the highest scores; only where not all are there |

In CSV the last two hold numbers with spaces between them, in Parquet lists.
"""

from __future__ import annotations

import csv
import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxcnn.data.source import Source
from jaxcnn.evaluation.metrics import Evaluation

ENDINGS = (".csv", ".parquet")
# With more classes than this, only so many of the highest scores are written.
ALL_UP_TO, OTHERWISE = 100, 5
_MAX_FIELD = 2**24


@dataclasses.dataclass(frozen=True)
class Predictions:
    """What two models are compared by, sorted by index.

    Attributes:
      path: the file.
      index: `[N]` int64, each once.
      key: names of the examples `[N]`.
      label: `[N]` int64.
      prediction: `[N]` int64.
      correct: `[N]` bool.
      names: the names of the classes that occur, by number, where the file has them.
    """

    path: str
    index: np.ndarray
    key: list[str]
    label: np.ndarray
    prediction: np.ndarray
    correct: np.ndarray
    names: dict[int, str]

    def name_of(self, number: int) -> str:
        return self.names.get(number, str(number))


def scores_wanted(num_classes: int) -> int:
    """How many scores are kept unless one says otherwise: -1 (all) up to 100 classes, else 5."""
    return -1 if num_classes <= ALL_UP_TO else OTHERWISE


def check_path(path: pathlib.Path) -> None:
    """Raises ValueError if the file's ending is none that can be written here."""
    if path.suffix not in ENDINGS:
        raise ValueError(f"{path}: predictions are written as {' or '.join(ENDINGS)}.")


def write_predictions(path: pathlib.Path, result: Evaluation, source: Source) -> None:
    """Writes one row for each example; the format by the file's ending.

    Raises:
      ValueError: the result was made without scores, or the ending is unknown.
    """
    check_path(path)
    if result.scores is None:
        raise ValueError("The evaluation kept no scores; evaluate with scores=-1 or a number.")
    names, key = result.class_names, getattr(source, "key", str)
    columns: dict[str, Any] = {
        "index": result.index.astype(np.int64),
        "key": [key(int(i)) for i in result.index],
        "label": result.label.astype(np.int64),
        "prediction": result.prediction.astype(np.int64),
        "correct": result.hit.astype(np.int8),
        "label_name": [names[i] for i in result.label],
        "prediction_name": [names[i] for i in result.prediction],
        "confidence": result.confidence.astype(np.float32),
        "scores": result.scores.astype(np.float32),
    }
    if result.score_classes is not None:
        columns["score_classes"] = result.score_classes.astype(np.int32)
    if path.suffix == ".csv":
        _write_csv(path, columns)
    else:
        pa, pq = _parquet()
        lists = {k: list(v) if getattr(v, "ndim", 1) == 2 else v for k, v in columns.items()}
        pq.write_table(pa.table(lists), path)


def _write_csv(path: pathlib.Path, columns: dict[str, Any]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for row in zip(*columns.values(), strict=True):
            writer.writerow([_cell(value) for value in row])


def _cell(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return " ".join(map(_cell, value))
    return f"{value:.7g}" if isinstance(value, np.floating) else str(value)


def read_predictions(path: str | pathlib.Path) -> Predictions:
    """Reads what `write_predictions` wrote, or another program's file with the same columns.

    Needed are `index`, `label` and `prediction`; `key` and the names help people, and without
    `correct` a prediction is right if it is the label.

    Raises:
      ValueError: no such columns, no rows, an example that is there twice, or a cell that is no
        whole number.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        what = "is a folder" if path.exists() else "does not exist"
        raise FileNotFoundError(f"{path} {what}; evaluate.py --predictions FILE writes such files.")
    columns = _read_csv(path) if path.suffix == ".csv" else _read_parquet(path)
    missing = [name for name in ("index", "label", "prediction") if name not in columns]
    if missing:
        raise ValueError(
            f"{path} has no column {', '.join(missing)}; it has {', '.join(columns) or 'none'}."
        )
    numbers = {
        name: _whole(path, name, columns[name])
        for name in ("index", "label", "prediction", "correct")
        if name in columns
    }
    order = np.argsort(numbers["index"], kind="stable")
    index = numbers["index"][order]
    if not len(index):
        raise ValueError(f"{path} has no rows.")
    twice = np.flatnonzero(index[1:] == index[:-1])
    if len(twice):
        raise ValueError(
            f"{path} has {len(twice)} examples more than once, first index {index[twice[0]]}; "
            "each counts once."
        )
    right = numbers.get("correct", (numbers["label"] == numbers["prediction"]).astype(np.int64))
    if not np.isin(right, (0, 1)).all():
        raise ValueError(f"{path}: column correct holds other values than 0 and 1.")
    key = [str(x) for x in columns.get("key", numbers["index"])]
    return Predictions(
        path=str(path),
        index=index,
        key=[key[i] for i in order],
        label=numbers["label"][order],
        prediction=numbers["prediction"][order],
        correct=right[order].astype(bool),
        names=_names(numbers, columns),
    )


def _names(numbers: dict[str, np.ndarray], columns: Mapping[str, Sequence[Any]]) -> dict[int, str]:
    names: dict[int, str] = {}
    for name in ("label", "prediction"):
        given = columns.get(f"{name}_name")
        if given is not None:
            names |= dict(zip(numbers[name].tolist(), map(str, given), strict=True))
    return names


def _whole(path: pathlib.Path, name: str, values: Sequence[Any]) -> np.ndarray:
    try:
        return np.array([int(x) for x in values], np.int64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{path}: column {name} must hold whole numbers ({error}).") from error


def _read_csv(path: pathlib.Path) -> dict[str, list[str]]:
    csv.field_size_limit(_MAX_FIELD)
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.reader(file)
            names = next(reader, [])
            wanted = [i for i, name in enumerate(names) if name not in ("scores", "score_classes")]
            rows = []
            for row in reader:
                if len(row) != len(names):
                    raise ValueError(
                        f"{path}, line {reader.line_num}: {len(row)} cells under {len(names)} "
                        "headings; is the file cut off?"
                    )
                rows.append([row[i] for i in wanted])
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no CSV: {error}") from error
    return {names[i]: [row[place] for row in rows] for place, i in enumerate(wanted)}


def _read_parquet(path: pathlib.Path) -> dict[str, list[Any]]:
    pa, pq = _parquet()
    try:
        wanted = [n for n in pq.read_schema(path).names if n not in ("scores", "score_classes")]
        return pq.read_table(path, columns=wanted).to_pydict()
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} is no Parquet file that can be read: {error}") from error


def _parquet() -> tuple[Any, Any]:
    # Only where it is wanted: it takes a moment to import.
    import pyarrow
    import pyarrow.parquet

    return pyarrow, pyarrow.parquet
