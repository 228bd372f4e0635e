"""Molecules in files: SMILES lists, CSV, TSV and Parquet with a column of SMILES, SDF."""

import bz2
import csv
import gzip
import lzma
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from rdkit import Chem, rdBase

from core.errors import DataError, unknown
from core.extras import require
from domains.graphs.data import Array
from domains.graphs.formats.reading import Reading
from domains.graphs.molecules import Parsed, parse_molecules

__all__ = [
    "TABLES",
    "column_of",
    "open_text",
    "read_sdf",
    "read_smiles_list",
    "sdf_records",
    "table_molecules",
]

TABLES = (".smi", ".smiles", ".csv", ".tsv", ".parquet", ".sdf", ".mol")
OPENERS = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}
COLUMNS = ("smiles", "SMILES", "Smiles", "canonical_smiles", "CanonicalSMILES", "smi", "smile")


def open_text(path: Path) -> IO[str]:
    """Open text, compressed or not.

    Raises:
        DataError: it is not UTF-8 (found when read) or cannot be opened.
    """
    opener: Any = OPENERS.get(path.suffix.lower(), open)
    return opener(path, "rt", encoding="utf-8-sig", newline="")


def read_smiles_list(path: Path, *, empty: bool = False) -> list[str]:
    """The SMILES of a list: first word of each line; a name may follow. A heading is left out.

    Raises:
        DataError: it is no text, or has no line and `empty` is off.
    """
    try:
        with open_text(path) as file:
            lines = [line.strip() for line in file]
    except (OSError, EOFError, UnicodeDecodeError, lzma.LZMAError) as error:
        raise DataError(f"{path} is no text that can be read: {error}.") from error
    words = [line.split()[0].strip(",;") for line in lines if line and not line.startswith("#")]
    if words and words[0].lower() in {"smiles", "smi", "canonical_smiles"}:
        words = words[1:]
    if not words and not empty:
        raise DataError(f"{path} is empty.", hint="Give one SMILES a line.")
    return words


def _table_rows(path: Path) -> tuple[list[str], list[dict[str, Any]]]:
    """Column names and rows of CSV, TSV or Parquet."""
    if path.suffix.lower() == ".parquet":
        parquet = require("pyarrow.parquet", extra="graphs")
        try:
            table = parquet.read_table(path)
        except (OSError, ValueError) as error:
            raise DataError(f"{path} is no Parquet file: {str(error).splitlines()[0]}") from error
        return list(table.column_names), table.to_pylist()
    try:
        with open_text(path) as file:
            head = file.readline()
            file.seek(0)
            tab = head.count("\t") > max(head.count(","), head.count(";"))
            mark = "\t" if tab else ";" if head.count(";") > head.count(",") else ","
            reader = csv.DictReader(file, delimiter=mark)
            rows = list(reader)
            return list(reader.fieldnames or ()), rows
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is no table that can be read: {error}.") from error


def column_of(names: Sequence[str], wanted: str | None, path: Path) -> str:
    """The column that holds SMILES.

    Raises:
        ConfigError, DataError: there is none of that name, or none can be told.
    """
    if wanted is not None:
        if wanted not in names:
            raise unknown(f"column of {path.name}", wanted, names)
        return wanted
    if found := next((name for name in COLUMNS if name in names), None):
        return found
    raise DataError(
        f"{path} has no column named like SMILES (columns: {', '.join(names) or 'none'}).",
        hint="Name it with --smiles-col.",
    )


def table_molecules(path: Path, reading: Reading) -> tuple[Sequence[str], Mapping[str, Array]]:
    """SMILES and properties of a table.

    Raises:
        DataError: the table is empty, or a property is missing or not finite; names column and row.
    """
    names, rows = _table_rows(path)
    if not rows:
        raise DataError(f"{path} holds no row.", hint="Give one molecule a row under a heading.")
    column = column_of(names, reading.smiles_col, path)
    for name in reading.properties:
        if name not in names:
            raise unknown(f"column of {path.name}", name, names)
    properties = {
        name: np.asarray([_number(row[name], name, i, path) for i, row in enumerate(rows)])
        for name in reading.properties
    }
    return [str(row[column] or "").strip() for row in rows], properties


def _number(value: Any, column: str, row: int, path: Path) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise DataError(
            f"{path}, column '{column}', row {row + 1}: '{value}' is no finite number.",
            hint="Fill the column in, or leave the row out of the file.",
        )
    return number


def read_sdf(path: Path, reading: Reading) -> tuple[Parsed, Mapping[str, Array], int]:
    """Molecules of an SDF (V2000 or V3000), hydrogens removed; properties from its tags."""
    texts: list[str] = []
    mols: list[Any] = []
    with rdBase.BlockLogs():
        for i, mol in enumerate(sdf_records(path)):
            name = mol.GetProp("_Name") if mol is not None and mol.HasProp("_Name") else ""
            texts.append(name or f"record {i + 1}")
            mols.append(mol)
    if not texts:
        raise DataError(f"{path} holds no molecule.", hint="Give an SDF with at least one record.")
    for name in reading.properties:
        if not any(mol is not None and mol.HasProp(name) for mol in mols):
            known = sorted({tag for mol in mols if mol is not None for tag in mol.GetPropNames()})
            raise unknown(f"tag of {path.name}", name, known)
    properties = {
        name: np.asarray(
            [
                _number(mol.GetProp(name) if mol.HasProp(name) else None, name, i, path)
                if mol is not None
                else math.nan
                for i, mol in enumerate(mols)
            ]
        )
        for name in reading.properties
    }
    return parse_molecules(mols, texts, reading.accept, source=str(path)), properties, len(mols)


def sdf_records(path: Path) -> Iterator[Any]:
    try:
        if path.suffix.lower() == ".mol":
            yield Chem.MolFromMolFile(str(path))
            return
        opener: Any = OPENERS.get(path.suffix.lower(), open)
        with opener(path, "rb") as file:
            yield from Chem.ForwardSDMolSupplier(file)
    except OSError as error:
        raise DataError(f"{path} is no SDF that can be read: {error}.") from error
