"""The catalogue: every card parses, agrees with the real files, and a misspelt name finds its neighbour."""

import importlib
from importlib.util import find_spec
from pathlib import Path

import pytest

from core.errors import ConfigError
from data.catalog import Card, find_card, parse_card, read_cards
from data.store import sha256_of

WITH_FILES = [card for card in read_cards() if card.kind == "files"]
BUILTIN = [card for card in read_cards() if card.kind == "builtin"]

GOOD = """
name: spots
domain: images
title: Spots
task: none
source: {repository: somebody/spots}
licence: CC0-1.0
rights: none
format: raw
generator: make spots
"""


def test_every_card_file_is_one_card_named_like_its_file() -> None:
    folder = Path(__file__).parents[2] / "data" / "cards"
    assert sorted(card.name for card in read_cards()) == sorted(file.stem for file in folder.glob("*.yaml"))


def test_the_catalogue_has_the_seven_ultrasound_sets_the_builtins_and_the_simulator() -> None:
    kinds = {card.name: card.kind for card in read_cards()}
    assert [card.name for card in WITH_FILES if card.domain == "ultrasound"] == [
        "must_disk",
        "paper_invivo",
        "paper_phantom",
        "plus_bk",
        "plus_bone",
        "plus_ultrasonix",
        "pybf_fieldii",
    ]
    assert kinds["digits"] == kinds["photographs"] == "builtin"
    assert kinds["cardiac_simulated"] == "generator"


@pytest.mark.parametrize("card", WITH_FILES, ids=lambda card: card.name)
def test_a_card_lists_exactly_the_files_that_the_real_folder_holds(card: Card, real_data) -> None:
    folder = real_data(card.folder)
    found = {file.name: (file.stat().st_size, sha256_of(file)) for file in folder.iterdir()}
    assert {file.path: (file.size_bytes, file.sha256) for file in card.files} == found


@pytest.mark.parametrize(
    "card", [card for card in WITH_FILES if any(file.url for file in card.files)], ids=lambda card: card.name
)
def test_every_address_names_the_repository_commit_and_path_of_the_source(card: Card) -> None:
    root = (
        f"https://raw.githubusercontent.com/{card.source.repository}/{card.source.commit}/{card.source.path}/"
    )
    for file in card.files:
        assert file.url is not None
        assert file.url.startswith(root)
        assert file.url.endswith("/" + file.path)


@pytest.mark.parametrize("card", BUILTIN, ids=lambda card: card.name)
def test_a_builtin_lies_inside_its_package(card: Card) -> None:
    assert card.builtin is not None
    assert card.source.path is not None
    spec = find_spec(card.builtin.split(".")[0])
    if spec is None or spec.origin is None:
        pytest.skip(f"'{card.source.repository}' is not installed")
    assert (Path(spec.origin).parents[1] / card.source.path).exists()


@pytest.mark.slow
@pytest.mark.parametrize("card", BUILTIN, ids=lambda card: card.name)
def test_a_builtin_names_a_function_that_loads_with_no_download(card: Card) -> None:
    assert card.builtin is not None
    module, function = card.builtin.rsplit(".", 1)
    pytest.importorskip(module, reason=f"'{card.source.repository}' is not installed")
    assert len(getattr(importlib.import_module(module), function)()) > 0


def test_a_misspelt_name_is_answered_with_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match="unknown dataset 'plus_bkk'") as caught:
        find_card("plus_bkk")
    assert caught.value.hint == "Did you mean 'plus_bk'?"


def test_the_folder_of_a_dataset_is_its_domain_and_name() -> None:
    assert find_card("must_disk").folder == "ultrasound/must_disk"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("licence:", "license:"), "licence: Field required"),
        (("name: spots", "name: Spots!"), "name: String should match"),
        (("generator: make spots", ""), "exactly one of files, builtin and generator"),
        (("generator: make spots", "files: [{path: ../up, sha256: x, size_bytes: 1}]"), "files.0.path"),
        (("title: Spots", "title: [unclosed"), "not YAML"),
        (("rights: none", "rights: none\nextra: 1"), "extra: Extra inputs"),
    ],
)
def test_a_faulty_card_is_refused_with_the_field_at_fault(change: tuple[str, str], message: str) -> None:
    assert parse_card(GOOD, origin="spots.yaml").kind == "generator"
    with pytest.raises(ConfigError, match=message):
        parse_card(GOOD.replace(*change), origin="spots.yaml")
