"""The demo's third section: molecules as they come out of noise, and with a property raised."""

from typing import Any

from apps.report import Column, Number, Picture, Row, Section, Table
from apps.runfolder import RunFolder

__all__ = ["molecule_section"]

COLUMNS = (
    Column("valid as drawn", "%", "higher", 0),
    Column("unique", "%", "higher", 0),
    Column("novel", "%", None, 0),
    Column("NSPDK to test", "", "lower", 4),
    Column("mean logP", "", None, 2),
)


def molecule_section(run: RunFolder, facts: dict[str, Any]) -> Section:
    """What `domains.graphs.workflows.showcase` found."""
    first, second = facts["rows"][1], facts["rows"][2]
    return Section(
        "Molecules, drawn",
        f"A model of graphs with {facts['train']:,} training molecules of C, N, O and F, at most five heavy "
        f"atoms. There are {facts['molecules']:,} such molecules in all, so what is new is known exactly. "
        "Atoms and bonds come out of noise together. For the last row "
        f"{facts['particles']} particles a molecule are weighed by their logP; nothing is trained.",
        (
            Picture(
                run.path / facts["picture"],
                "Fifteen molecules as they come, and in the last row five with logP raised.",
                "Twenty drawings of small molecules with their logP.",
            ),
        ),
        (
            Table(
                COLUMNS,
                tuple(_row(row) for row in facts["rows"]),
                first="molecules",
                note=f"{first['graphs']} training and {first['graphs']} generated molecules, "
                f"{second['graphs']} with logP raised; {facts['steps']} network calls each. Valid as drawn: "
                "before valences are corrected. Novel: share of the distinct ones that no training molecule "
                "is. The first row is the floor of NSPDK; what is raised in logP is meant to leave it.",
            ),
        ),
        command="suffuse graphs sample small-molecules -o made.smi\n"
        "suffuse graphs guide small-molecules -o raised.smi --reward logp\n"
        "suffuse graphs train your.smi     # a model of your own molecules",
    )


def _row(row: dict[str, Any]) -> Row:
    shares = (
        Number(100 * row["valid_without_correction"]),
        Number(100 * row["unique"]),
        Number(100 * row["novel"]),
    )
    cells = (*shares, Number(row["nspdk"]), Number(row["logp"], row["logp_standard_error"]))
    return Row(row["set"], cells, "baseline" if row["set"] == "training molecules" else "result")
