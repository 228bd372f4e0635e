"""suffuse data: list, find, check and fetch datasets."""

from typing import Annotated

import typer

from apps.options import AsJson, DataDir, Quiet

app = typer.Typer(no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name of a dataset, as 'suffuse data list' prints it.")]


@app.command("list")
def list_datasets(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List the datasets of the catalogue and what of them is on this machine."""
    from apps.show import show
    from data.catalog import read_cards
    from data.store import is_present, search_path

    rows = [
        {
            "name": card.name,
            "domain": card.domain,
            "from": card.kind,
            "present": is_present(card, data_dir=data_dir),
            "size_mb": round(card.size_bytes / 1e6, 1) if card.files else None,
            "licence": card.licence,
            "title": card.title,
        }
        for card in read_cards()
    ]
    folders = [str(folder) for folder in search_path(data_dir)]
    if as_json:
        show({"datasets": rows, "search_path": folders}, as_json=True)
        return
    show({"datasets": rows})
    print("Searched: " + ", ".join(folders))


@app.command()
def info(name: Name, as_json: AsJson = False) -> None:
    """Show the card of one dataset: source, licence, rights, format, files."""
    from apps.show import show
    from data.catalog import find_card

    card = find_card(name).model_dump(mode="json", exclude_none=True)
    if not card["files"]:
        del card["files"]
    elif not as_json:
        card["files"] = [{"path": file["path"], "size_bytes": file["size_bytes"]} for file in card["files"]]
    show(card, as_json=as_json)


@app.command("path")
def print_path(name: Name, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Print the folder that holds a dataset."""
    from apps.show import show
    from data.store import path

    folder = path(name, data_dir=data_dir)
    if as_json:
        show({"name": name, "path": folder}, as_json=True)
    else:
        print(folder)


@app.command()
def verify(
    names: Annotated[
        list[str] | None, typer.Argument(help="Datasets; all of them when none is named.")
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Compare datasets with their cards, file by file; exit code 3 unless all named are right."""
    from apps.show import show
    from core.errors import DataError
    from data.catalog import find_card, read_cards
    from data.store import verify as check_dataset

    cards = [find_card(name) for name in names] if names else list(read_cards())
    checks = [check_dataset(card, data_dir=data_dir) for card in cards]
    rows = []
    for check in checks:
        wrong = [f"{file}: {state}" for file, state in check.files.items() if state != "ok"]
        if len(wrong) > 3 and not as_json:
            wrong = [*wrong[:3], f"and {len(wrong) - 3} more"]
        rows.append({"name": check.name, "ok": check.ok, "folder": check.folder, "wrong": wrong})
    show({"datasets": rows}, as_json=as_json)
    # Without names nothing is demanded to be here, but what is here must be right.
    bad = [c.name for c in checks if not c.ok and (names or c.folder is not None)]
    if bad:
        raise DataError(
            f"{len(bad)} of {len(checks)} datasets are incomplete or changed: {', '.join(bad)}.",
            hint="Fetch what is missing with: suffuse data fetch NAME",
        )


@app.command()
def fetch(
    name: Name,
    data_dir: DataDir = None,
    timeout_s: Annotated[float, typer.Option(min=0.1, help="Longest silence of the server, in s.")] = 10.0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Download what is missing of a dataset, check it, and print its folder."""
    from apps.progress import show_progress
    from apps.show import say, show
    from data.catalog import find_card
    from data.store import fetch as fetch_dataset

    card = find_card(name)
    if card.files:
        say(
            f"{card.name}: {card.size_bytes / 1e6:.1f} MB, licence {card.licence}. {card.rights}", quiet=quiet
        )
    with show_progress(quiet=quiet) as progress:
        folder = fetch_dataset(card, data_dir=data_dir, timeout_s=timeout_s, progress=progress)
    if as_json:
        show({"name": name, "path": folder}, as_json=True)
    else:
        print(folder)
