"""Read documents from Parquet files and Hugging Face `datasets`; both libraries are imported only when needed."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from baicai.data.document import Document, parse_record, raise_on_error
from baicai.errors import DataError, MachineError

COLUMNS = ("id", "text", "messages", "source", "license", "licence")

_ROWS = 128


def read_parquet(path: Path, relative: str, source: str, licence: str) -> Iterator[Document | DataError]:
    """Yield the rows of a Parquet file as documents, a few at a time; an invalid row yields its error.

    Raises: DataError if the file is not valid Parquet, MachineError if pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise MachineError(f"reading {path} needs pyarrow: pip install baicai[parquet]") from None
    try:
        with pq.ParquetFile(path, buffer_size=2**20, pre_buffer=False) as file:
            columns = [name for name in file.schema_arrow.names if name in COLUMNS]
            batches = file.iter_batches(_ROWS, columns=columns, use_threads=False)
            rows = (row for batch in batches for row in batch.to_pylist())
            yield from _parse_rows(rows, str(path), relative, source, licence)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as Parquet ({_first_line(error)}): copy or write it again") from None


def is_saved_dataset(folder: Path) -> bool:
    """Return whether a folder was written by `save_to_disk`."""
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()


def read_saved_dataset(folder: Path, licence: str) -> Iterator[Document]:
    """Yield the rows of a folder written by `datasets.save_to_disk`; of several splits, those of `train`.

    Raises: DataError, MachineError if datasets is not installed.
    """
    datasets, source = _datasets(str(folder)), folder.resolve().name
    if (folder / "dataset_dict.json").is_file():
        splits = sorted(path.name for path in folder.iterdir() if path.is_dir())
        if "train" not in splits:
            raise DataError(f"{folder} has no split 'train': use one of its folders: {', '.join(splits) or 'none'}")
        folder = folder / "train"
    import pyarrow as pa

    try:
        files = [file["filename"] for file in datasets.load_from_disk(str(folder)).cache_files]
        rows = (row for file in files for row in _arrow_rows(file))
        yield from raise_on_error(_parse_rows(rows, str(folder), folder.name, source, licence))
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise DataError(f"{folder} cannot be loaded ({_first_line(error)}): save the data set again") from None


def read_hub(source: str, licence: str) -> Iterator[Document]:
    """Stream the rows of `hf:owner/name[:config][:split]`; the default split is `train`.

    Raises: DataError, MachineError if datasets is not installed.
    """
    datasets = _datasets(source)
    name, config, split = _hub_parts(source)
    try:
        rows = datasets.load_dataset(name, config, split=split, streaming=True)
        yield from raise_on_error(_parse_rows(_select_columns(rows), source, name, name, licence))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{source} cannot be loaded ({_first_line(error)}): check the name and the connection"
        ) from None


def hub_version(source: str) -> list[str]:
    """Return values that identify the version of the data set behind `hf:...`.

    Raises: DataError, MachineError if datasets is not installed.
    """
    datasets = _datasets(source)
    name, config, _ = _hub_parts(source)
    try:
        builder = datasets.load_dataset_builder(name, config)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{source} cannot be loaded ({_first_line(error)}): check the name and the connection"
        ) from None
    return [str(builder.hash), str(builder.config_id)]


def _datasets(source: str) -> Any:
    try:
        import datasets
    except ImportError:
        raise MachineError(f"reading {source} needs datasets: pip install baicai[hub]") from None
    return datasets


def _hub_parts(source: str) -> tuple[str, str | None, str]:
    name, config, split, *rest = [*source.removeprefix("hf:").split(":"), "", ""]
    if not name or any(rest):
        raise DataError(f"{source} is not of the form hf:owner/name[:config][:split], for example hf:owner/name::test")
    return name, config or None, split or "train"


def _arrow_rows(file: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of an Arrow stream, read instead of mapped: mapped pages would count as our memory."""
    import pyarrow as pa

    with pa.OSFile(file) as source, pa.ipc.open_stream(source) as reader:
        columns = [name for name in reader.schema.names if name in COLUMNS]
        for batch in reader:
            selected = batch.select(columns)
            for start in range(0, selected.num_rows, _ROWS):
                yield from selected.slice(start, _ROWS).to_pylist()


def _select_columns(rows: Any) -> Any:
    names = [name for name in rows.column_names or () if name in COLUMNS]
    return rows.select_columns(names) if names else rows


def _parse_rows(
    rows: Iterable[Mapping[str, Any]], where: str, relative: str, source: str, licence: str
) -> Iterator[Document | DataError]:
    for number, row in enumerate(rows, 1):
        location = f"{where}: row {number}"
        document: Document | DataError | None
        try:
            document = parse_record(row, location, name=f"{relative}:{number}", source=source, licence=licence)
        except DataError as error:
            document = error
        if document is not None:
            yield document


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
