"""Named sets and a stranger's files: every format is read to the same graphs, every fault names its place."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import torch
from rdkit import Chem

from core.errors import ConfigError, DataError, SuffuseError
from data.store import sha256_of
from domains.graphs.data import KINDS, GraphSet
from domains.graphs.exchange import to_networkx, to_pyg
from domains.graphs.formats import write_npz, write_samples
from domains.graphs.formats.reading import Reading
from domains.graphs.generated import read_generated
from domains.graphs.molecules import Accept
from domains.graphs.sets import read_set

SMILES = ("CCO", "c1ccccc1", "CC#N", "O", "NC=O")


def same(x: GraphSet, y: GraphSet) -> bool:
    return all(
        bool((a == b).all()) for a, b in zip(vars(x.ragged).values(), vars(y.ragged).values(), strict=True)
    )


@pytest.mark.parametrize(
    ("name", "graphs", "train", "test"),
    [
        ("community_small", 100, 80, 20),
        ("ego_small", 200, 160, 40),
        ("enzymes", 587, 470, 117),
        ("grid", 100, 80, 20),
        ("comm20", 100, 68, 17),
    ],
)
def test_published_sets_have_their_splits_and_fit_their_kind(
    name: str, graphs: int, train: int, test: int, real_data
) -> None:
    folder = real_data(f"graphs/{name}.npz").parent.parent
    found = read_set(name, Reading(data_dir=folder))
    assert len(found) == graphs
    assert (len(found.at("train")), len(found.at("test"))) == (train, test)
    assert found.kind == KINDS[name]
    some = found.batch(found.at("test")[:5]).checked()
    assert some.nodes.shape[2] == found.kind.features


def test_the_cards_agree_with_the_real_files(real_data) -> None:
    from data.catalog import read_cards

    folder = real_data("graphs/README.md").parent
    cards = [card for card in read_cards() if card.domain == "graphs" and card.files]
    assert {card.name for card in cards} == set(KINDS)
    for card in cards:
        for file in card.files:
            assert sha256_of(folder / file.path) == file.sha256, file.path


def test_a_split_of_qm9_is_read_without_the_rest(real_data) -> None:
    folder = real_data("graphs/qm9_smiles.txt.xz").parent.parent
    found = read_set("qm9", Reading(data_dir=folder, split="test", limit=50))
    assert (len(found), sorted(found.splits)) == (50, ["test"])
    with np.load(folder / "graphs" / "molecule_splits.npz") as file:
        assert np.isin(found.rows, file["qm9_test_rows"]).all()
    again = read_set("qm9", Reading(data_dir=folder, split="test", limit=50))
    assert same(found, again)


def test_sets_that_need_no_download_are_the_same_every_time() -> None:
    found = read_set("community")
    assert same(found, read_set("community"))
    assert (len(found.at("train")), len(found.at("test"))) == (80, 20)
    assert all(nx.is_connected(graph) for graph in to_networkx(found.ragged))
    small = read_set("small_molecules", Reading(accept=Accept(max_nodes=3)))
    assert len(small) == 4 + 19 + 94
    assert not set(small.smiles_of("train")) & set(small.smiles_of("test"))


def test_a_limit_is_drawn_from_train_and_test_alike() -> None:
    """80 of 117: a draw that shares its stream with that of the split would take every test first."""
    found = read_set("small_molecules", Reading(accept=Accept(max_nodes=3), limit=80))
    assert 50 <= len(found.at("train")) <= 76


def test_every_format_of_molecules_is_read_to_the_same_graphs(tmp_path: Path) -> None:
    (tmp_path / "a.smi").write_text("".join(f"{s} name{i}\n" for i, s in enumerate(SMILES)))
    (tmp_path / "a.csv").write_text("id;SMILES\n" + "".join(f"{i};{s}\n" for i, s in enumerate(SMILES)))
    with gzip.open(tmp_path / "a.smi.gz", "wt") as file:
        file.write("smiles\n" + "\n".join(SMILES))
    with Chem.SDWriter(str(tmp_path / "a.sdf")) as writer:
        for one in SMILES:
            writer.write(Chem.MolFromSmiles(one))
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"smiles": list(SMILES), "gap": [0.1] * 5}), tmp_path / "a.parquet")
    first = read_set(tmp_path / "a.smi")
    assert first.kind.atoms == ("C", "N", "O")
    write_npz(tmp_path / "a.npz", first)
    for name in ("a.csv", "a.smi.gz", "a.sdf", "a.parquet", "a.npz"):
        found = read_set(tmp_path / name)
        assert same(found, first), name
        assert found.smiles == first.smiles, name
        assert replace(found.kind, name="a") == first.kind


def test_every_format_of_graphs_is_read_to_the_same_graphs(tmp_path: Path) -> None:
    first = read_set("community").take(np.arange(4))
    graphs = to_networkx(first.ragged)
    (tmp_path / "many").mkdir()
    for i, graph in enumerate(graphs):
        nx.write_graphml(graph, tmp_path / "many" / f"{i}.graphml")
    blocks = ["\n".join([*map(str, graph), *(f"{u} {v}" for u, v in graph.edges)]) for graph in graphs]
    (tmp_path / "a.edges").write_text("\n\n".join(blocks))
    dense = first.ragged.dense(first.kind)
    np.savez(tmp_path / "a.npz", adjacency=dense.edges.numpy(), num_nodes=dense.sizes.numpy())
    torch.save(to_pyg(dense, first.kind), tmp_path / "a.pt")
    write_npz(tmp_path / "b.npz", first)
    state = {key: value.numpy() for key, value in dense.state().items()}
    np.savez(tmp_path / "c.npz", **state)
    for name in ("many", "a.edges", "a.npz", "a.pt", "b.npz", "c.npz"):
        found = read_set(tmp_path / name)
        again = found.ragged.dense(first.kind)
        assert bool((again.edges == dense.edges).all()), name
        assert bool((again.mask == dense.mask).all()), name


@pytest.mark.parametrize("suffix", ["npz", "smi", "csv", "sdf"])
def test_molecules_written_are_read_again(suffix: str, tmp_path: Path) -> None:
    (tmp_path / "a.smi").write_text("\n".join(SMILES))
    first = read_set(tmp_path / "a.smi")
    path = tmp_path / f"out.{suffix}"
    assert write_samples(path, first.ragged, first.kind) == len(SMILES)
    assert read_generated(path).kept == first.smiles
    with pytest.raises(ConfigError, match="exists"):
        write_samples(path, first.ragged, first.kind)


@pytest.mark.parametrize("suffix", ["npz", "edges", "pt"])
def test_graphs_written_are_read_again(suffix: str, tmp_path: Path) -> None:
    first = read_set("community").take(np.arange(3))
    path = tmp_path / f"out.{suffix}"
    assert write_samples(path, first.ragged, first.kind) == 3
    dense = read_set(path).ragged.dense(first.kind)
    assert bool((dense.edges == first.graphs().edges).all())
    with pytest.raises(ConfigError, match=r"unknown output type of graphs '\.smi'"):
        write_samples(tmp_path / "out.smi", first.ragged, first.kind)


def test_properties_splits_and_rows_survive_an_archive(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("smiles,gap\n" + "".join(f"{s},{i}\n" for i, s in enumerate(SMILES)))
    (tmp_path / "split.json").write_text(json.dumps({"test": [1, 4], "val": [0]}))
    reading = Reading(
        accept=Accept(max_nodes=4, drop_large=True),
        properties=("gap",),
        split_file=tmp_path / "split.json",
    )
    found = read_set(tmp_path / "a.csv", reading)
    # Benzene, row 1, is too large: the rows after it keep their numbers.
    assert found.rows is not None
    assert found.rows.tolist() == [0, 2, 3, 4]
    assert {name: at.tolist() for name, at in found.splits.items()} == {
        "test": [3],
        "val": [0],
        "train": [1, 2],
    }
    assert found.properties["gap"].tolist() == [0, 2, 3, 4]
    write_npz(tmp_path / "a.npz", found)
    again = read_set(tmp_path / "a.npz")
    assert again.properties["gap"].tolist() == [0, 2, 3, 4]
    assert again.splits["test"].tolist() == [3]
    assert again.smiles == found.smiles


def saved(path: Path, **arrays: np.ndarray) -> None:
    np.savez(path, **arrays)


def asymmetric(folder: Path) -> None:
    a = np.zeros((2, 3, 3))
    a[0, 0, 1] = a[0, 1, 0] = a[1, 0, 1] = 1
    saved(folder / "x.npz", adjacency=a)


def weighted(folder: Path) -> None:
    saved(folder / "x.npz", adjacency=np.full((1, 3, 3), 0.5))


def not_finite(folder: Path) -> None:
    a = np.zeros((3, 2, 2))
    a[1] = np.nan
    saved(folder / "x.npz", adjacency=a)


def looped(folder: Path) -> None:
    saved(folder / "x.npz", adjacency=np.ones((1, 2, 2)))


def lonely(folder: Path) -> None:
    saved(folder / "x.npz", adjacency=np.zeros((1, 1, 1)), num_nodes=np.array([1]))


def hollow(folder: Path) -> None:
    saved(folder / "x.npz", adjacency=np.zeros((1, 2, 2)))


def pickled(folder: Path) -> None:
    np.savez(folder / "x.npz", adjacency=np.array([{1: 2}], dtype=object))


def foreign(folder: Path) -> None:
    torch.save({"graphs": Reading()}, folder / "x.pt")


def directed(folder: Path) -> None:
    from torch_geometric.data import Data

    torch.save([Data(edge_index=torch.tensor([[0], [1]]), num_nodes=2)], folder / "x.pt")


def text(name: str, content: str):
    return lambda folder: (folder / name).write_text(content)


BAD = [
    (asymmetric, "x.npz", r"graph 1: the adjacency is not symmetric \(largest difference 1\)"),
    (weighted, "x.npz", "graph 0 is weighted"),
    (not_finite, "x.npz", r"'adjacency' holds NaN or infinity \(graph 1 is the first of 1\)"),
    (looped, "x.npz", "graph 0 has a self-loop"),
    (lonely, "x.npz", "graph 0 has a single node"),
    (hollow, "x.npz", "graph 0 is empty"),
    (pickled, "x.npz", "no .npz archive of plain arrays"),
    (foreign, "x.pt", "without running code"),
    (directed, "x.pt", r"graph 0 is directed \(edge 0-1"),
    (text("x.edges", "a b\nb a\n"), "x.edges", "multigraph"),
    (text("x.edges", "a b 0.5\n"), "x.edges", "is weighted"),
    (text("x.edges", "a b c d\n"), "x.edges", "line 1: 'a b c d' is no edge"),
    (text("x.graphml", "no xml"), "x.graphml", "cannot be read as a graph"),
    (text("x.smi", ""), "x.smi", "is empty"),
    (text("x.csv", "id,name\n1,a\n"), "x.csv", r"no column named like SMILES \(columns: id, name\)"),
    (text("x.csv", "smiles\n"), "x.csv", "holds no row"),
    (text("x.sdf", "nothing"), "x.sdf", "no molecule|is left|can read"),
    (text("x.xyz", "1"), "x.xyz", "'.xyz' is no known type"),
    (lambda folder: None, "x.smi", "there is no file"),
    (lambda folder: None, "enzyme", "unknown set of graphs 'enzyme'"),
]


@pytest.mark.parametrize(("make", "name", "said"), BAD, ids=[said[:30] for *_, said in BAD])
def test_a_file_that_cannot_be_used_is_refused_in_one_line(
    make, name: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path)
    with pytest.raises(SuffuseError, match=said) as caught:
        read_set(name)
    assert "\n" not in str(caught.value)


SPLITS = [
    ({"test": [9]}, r"1 of 1 ids out of range, first 9; there are 5 rows"),
    ({"test": [1, 1]}, r"names 1 ids twice, first 1"),
    ({"test": []}, r"train or test split is empty .*test 0 of 0"),
    ("words", "is no list of row numbers"),
]


@pytest.mark.parametrize(("content", "said"), SPLITS, ids=[said[:20] for _, said in SPLITS])
def test_a_faulty_split_file_says_counts_and_the_first_bad_id(content, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.smi").write_text("\n".join(SMILES))
    (tmp_path / "s.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=said):
        read_set(tmp_path / "a.smi", Reading(split_file=tmp_path / "s.json"))


@pytest.mark.parametrize("value", ["", "n/a", "inf"])
def test_a_property_that_is_no_number_names_column_and_row(value: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"smiles,gap\nCC,1\nCO,{value}\n")
    with pytest.raises(DataError, match="column 'gap', row 2"):
        read_set(tmp_path / "a.csv", Reading(properties=("gap",)))
    with pytest.raises(ConfigError, match=r"unknown column of a\.csv 'gaps'"):
        read_set(tmp_path / "a.csv", Reading(properties=("gaps",)))


def test_degrees_and_sizes_of_generic_graphs_are_held_or_refused() -> None:
    with pytest.raises(DataError, match="features=4 hold degrees up to 3"):
        read_set("community", Reading(features=4))
    with pytest.raises(DataError, match="at most 14 are held"):
        read_set("community", Reading(accept=Accept(max_nodes=14)))
    found = read_set("community", Reading(accept=Accept(max_nodes=14, drop_large=True)))
    assert found.kind.max_nodes == 14
    assert "graphs are too large" in found.notes[0]
