"""Finding, checking and fetching datasets, against a server on this machine that can be told to misbehave."""

import hashlib
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from core.errors import ConfigError, DataError
from data import download as download_module
from data import store
from data.catalog import Card, File, Source, find_card
from data.download import download, sha256_of

# 700 001 bytes: more than two chunks of 262 144, and no multiple of one.
CONTENT = b"".join(hashlib.sha256(str(i).encode()).digest() for i in range(21876))[:700_001]
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Server:
    """What the server serves, how it behaves, and what it was asked."""

    url: str = ""
    content: bytes = CONTENT
    ranges: bool = True
    stop_after: int | None = None
    status: int | None = None
    asked: list[str | None] = field(default_factory=list)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            state.asked.append(wanted)
            if state.status is not None:
                return self.send_error(state.status)
            first = 0
            if wanted and state.ranges:
                match = re.fullmatch(r"bytes=(\d+)-", wanted)
                assert match
                first = int(match[1])
                if first >= len(state.content):
                    return self.send_error(416)
                self.send_response(206)
                self.send_header(
                    "Content-Range", f"bytes {first}-{len(state.content) - 1}/{len(state.content)}"
                )
            else:
                self.send_response(200)
            self.send_header("Content-Length", str(len(state.content) - first))
            self.end_headers()
            end = len(state.content) if state.stop_after is None else first + state.stop_after
            self.wfile.write(state.content[first:end])
            return None

        def log_message(self, *args: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{httpd.server_port}/spots.raw"
    yield state
    httpd.shutdown()
    httpd.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def no_data_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SUFFUSE_DATA", raising=False)
    monkeypatch.setattr(store, "cache_dir", lambda: tmp_path / "cache")


def spots(url: str | None, **changes: object) -> Card:
    file = {"path": "raw/spots.raw", "sha256": DIGEST, "size_bytes": len(CONTENT), "url": url} | changes
    return Card(
        name="spots",
        domain="images",
        title="Spots",
        task="none",
        source=Source(repository="somebody/spots"),
        licence="CC0-1.0",
        rights="none",
        format="raw",
        files=(File.model_validate(file),),
    )


def get(server: Server, target: Path) -> None:
    download(server.url, target, sha256=DIGEST, size_bytes=len(CONTENT), timeout_s=2.0)


def test_a_download_has_the_content_of_the_source_and_leaves_nothing_else(
    server: Server, tmp_path: Path
) -> None:
    calls = []
    download(
        server.url,
        tmp_path / "a" / "spots.raw",
        sha256=DIGEST,
        size_bytes=len(CONTENT),
        progress=lambda *call: calls.append(call),
    )
    assert sha256_of(tmp_path / "a" / "spots.raw") == DIGEST
    assert [entry.name for entry in (tmp_path / "a").iterdir()] == ["spots.raw"]
    assert calls[0] == ("spots.raw", 0, len(CONTENT))
    assert calls[-1] == ("spots.raw", len(CONTENT), len(CONTENT))


def test_an_interrupted_download_asks_only_for_the_rest(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "spots.raw"
    server.stop_after = 300_000
    with pytest.raises(DataError, match="stopped after 300000 of 700001 bytes"):
        get(server, target)
    assert not target.exists()
    server.stop_after = None
    get(server, target)
    assert server.asked == [None, "bytes=300000-"]
    assert target.read_bytes() == CONTENT


def test_a_server_without_ranges_makes_it_start_over(server: Server, tmp_path: Path) -> None:
    (tmp_path / "spots.raw.part").write_bytes(b"x" * 1000)
    server.ranges = False
    get(server, tmp_path / "spots.raw")
    assert server.asked == ["bytes=1000-"]
    assert (tmp_path / "spots.raw").read_bytes() == CONTENT


def test_a_complete_part_needs_no_request(server: Server, tmp_path: Path) -> None:
    (tmp_path / "spots.raw.part").write_bytes(CONTENT)
    get(server, tmp_path / "spots.raw")
    assert server.asked == []
    assert (tmp_path / "spots.raw").read_bytes() == CONTENT


def test_a_wrong_checksum_keeps_nothing(server: Server, tmp_path: Path) -> None:
    server.content = CONTENT[:-1] + b"!"
    with pytest.raises(DataError, match="SHA-256"):
        get(server, tmp_path / "spots.raw")
    assert list(tmp_path.iterdir()) == []


def test_a_resumed_download_whose_beginning_was_damaged_keeps_nothing(server: Server, tmp_path: Path) -> None:
    (tmp_path / "spots.raw.part").write_bytes(b"x" * 1000)
    with pytest.raises(DataError, match="SHA-256"):
        get(server, tmp_path / "spots.raw")
    assert list(tmp_path.iterdir()) == []


def test_a_source_that_became_longer_keeps_nothing(server: Server, tmp_path: Path) -> None:
    server.content = CONTENT + b"more"
    with pytest.raises(DataError, match="longer than the 700001 bytes"):
        get(server, tmp_path / "spots.raw")
    assert list(tmp_path.iterdir()) == []


def test_a_source_that_became_shorter_than_the_part_starts_over_and_says_so(
    server: Server, tmp_path: Path
) -> None:
    (tmp_path / "spots.raw.part").write_bytes(CONTENT[:5000])
    server.content = CONTENT[:4000]
    with pytest.raises(DataError, match="stopped after 4000 of"):
        get(server, tmp_path / "spots.raw")
    assert server.asked == ["bytes=5000-", None]


def test_an_existing_file_is_not_overwritten_and_no_request_is_made(server: Server, tmp_path: Path) -> None:
    (tmp_path / "spots.raw").write_bytes(b"mine")
    with pytest.raises(DataError, match="nothing was overwritten"):
        get(server, tmp_path / "spots.raw")
    assert (tmp_path / "spots.raw").read_bytes() == b"mine"
    assert server.asked == []


def test_a_missing_page_is_named_with_its_status(server: Server, tmp_path: Path) -> None:
    server.status = 404
    with pytest.raises(DataError, match="404"):
        get(server, tmp_path / "spots.raw")


def test_no_connection_is_one_line_naming_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    # Port 9 of this machine has no listener in a test environment; the refusal is immediate.
    with pytest.raises(DataError, match=r"cannot fetch a from 127\.0\.0\.1:9") as caught:
        download("http://127.0.0.1:9/a", tmp_path / "a", sha256=DIGEST, size_bytes=1, timeout_s=1.0)
    assert "\n" not in str(caught.value)


def test_a_full_disk_is_found_before_the_first_request(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(download_module.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(DataError, match=r"0\.0 MB free, spots\.raw needs 0\.7 MB"):
        get(server, tmp_path / "spots.raw")
    assert server.asked == []


def test_an_address_of_another_scheme_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="http or https"):
        download("file:///etc/hostname", tmp_path / "a", sha256=DIGEST, size_bytes=1)


def test_the_folder_given_comes_before_the_environment_and_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUFFUSE_DATA", str(tmp_path / "named"))
    assert store.search_path(tmp_path / "given") == (
        tmp_path / "given",
        tmp_path / "named",
        tmp_path / "cache",
    )
    assert store.search_path() == (tmp_path / "named", tmp_path / "cache")


def test_fetch_then_path_then_verify_agree(server: Server, tmp_path: Path) -> None:
    card = spots(server.url)
    folder = store.fetch(card, data_dir=tmp_path / "mine")
    assert folder == tmp_path / "mine" / "images" / "spots"
    assert store.path(card, data_dir=tmp_path / "mine") == folder
    check = store.verify(card, data_dir=tmp_path / "mine")
    assert check.ok
    assert check.files == {"raw/spots.raw": "ok"}


def test_fetch_downloads_nothing_when_a_folder_of_the_search_path_has_it(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = spots(server.url)
    cached = store.fetch(card)
    assert cached == tmp_path / "cache" / "images" / "spots"
    monkeypatch.setenv("SUFFUSE_DATA", str(tmp_path / "empty"))
    assert store.fetch(card) == cached
    assert len(server.asked) == 1


def test_fetch_leaves_a_file_with_another_content_alone(server: Server, tmp_path: Path) -> None:
    mine = tmp_path / "images" / "spots" / "raw" / "spots.raw"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(CONTENT[:-1] + b"!")
    with pytest.raises(DataError, match="wrong checksum"):
        store.fetch(spots(server.url), data_dir=tmp_path)
    assert mine.read_bytes() == CONTENT[:-1] + b"!"
    assert store.verify(spots(server.url), data_dir=tmp_path).files == {"raw/spots.raw": "wrong checksum"}


def test_a_file_without_an_address_says_where_to_put_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no download address") as caught:
        store.fetch(spots(None), data_dir=tmp_path)
    assert caught.value.hint is not None
    assert str(tmp_path / "images" / "spots" / "raw" / "spots.raw") in caught.value.hint


def test_an_absent_dataset_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'plus_bk' was not found") as caught:
        store.path("plus_bk", data_dir=tmp_path)
    assert caught.value.hint is not None
    assert "suffuse data fetch plus_bk" in caught.value.hint
    assert set(store.verify("plus_bk", data_dir=tmp_path).files.values()) == {"missing"}


def test_a_folder_with_a_file_missing_names_it(tmp_path: Path) -> None:
    folder = tmp_path / "ultrasound" / "plus_bk"
    folder.mkdir(parents=True)
    for file in find_card("plus_bk").files[:-1]:
        (folder / file.path).write_bytes(b"\0" * file.size_bytes)
    with pytest.raises(
        DataError,
        match=r"lacks 1 of 3 files of 'plus_bk', first BkCurvilinearScanConvertedData\.igs\.mha",
    ):
        store.path("plus_bk", data_dir=tmp_path)


@pytest.mark.parametrize(
    ("name", "hint"), [("digits", "load_digits"), ("cardiac_simulated", "suffuse ultrasound simulate")]
)
def test_what_has_no_files_says_how_it_is_made(name: str, hint: str) -> None:
    with pytest.raises(DataError, match="has no files") as caught:
        store.path(name)
    assert caught.value.hint is not None
    assert hint in caught.value.hint
    assert store.verify(name).folder is None


def test_the_real_sets_beside_the_project_verify(real_data) -> None:
    root = real_data("ultrasound/plus_bk").parents[1]
    assert store.path("plus_bk", data_dir=root) == root / "ultrasound" / "plus_bk"
    assert store.verify("plus_bk", data_dir=root).ok
