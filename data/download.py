"""Download one file so that it is either complete and right, or absent.

Bytes go to `<name>.part` beside the target. A run that stops leaves that file, and the next one asks the
server for the rest (HTTP `Range`, RFC 9110 section 14); a server that ignores the question makes it start
over. Only a file whose size and SHA-256 agree with the card gets its final name; an existing file is never
replaced.
"""

import errno
import hashlib
import http.client
import re
import shutil
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from core.errors import ConfigError, DataError
from core.progress import Progress, silent

__all__ = ["download", "sha256_of"]

CHUNK_BYTES = 1 << 18


def sha256_of(path: Path) -> str:
    """Checksum of a file's content, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def download(
    url: str,
    target: Path,
    *,
    sha256: str,
    size_bytes: int,
    timeout_s: float = 10.0,
    progress: Progress = silent,
) -> None:
    """Download `url` to `target`.

    Args:
        url: http or https address.
        target: final name of the file; its folder is made when absent.
        sha256: the checksum that the content must have.
        size_bytes: the size that the content must have.
        timeout_s: longest silence of the server, in seconds; the whole download may take longer.
        progress: called with bytes; the stage is the name of the file.

    Raises:
        ConfigError: the address is not http or https.
        DataError: the target exists, the disk is full or not writable, the server cannot be reached or stops
            early (what came is kept for the next try), or the content is not as expected (it is removed).
    """
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise ConfigError(f"expected an http or https address, got '{url}'.")
    if target.exists():
        raise DataError(
            f"{target} exists already; nothing was overwritten.", hint="Move it away and fetch again."
        )
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if part.exists() and part.stat().st_size > size_bytes:
            part.unlink()
        have = part.stat().st_size if part.exists() else 0
        free = shutil.disk_usage(target.parent).free
        if free < size_bytes - have:
            raise DataError(
                f"{target.parent} has {free / 1e6:.1f} MB free, "
                f"{target.name} needs {(size_bytes - have) / 1e6:.1f} MB.",
                hint="Free some space, or choose another folder with --data-dir.",
            )
        if have < size_bytes:
            _receive(url, part, have, size_bytes=size_bytes, timeout_s=timeout_s, progress=progress)
        part.touch()  # a file of 0 bytes needs no request
        _accept(part, target, url, sha256=sha256)
    except urllib.error.HTTPError as err:
        raise DataError(
            f"the server answered {err.code} ({err.reason}) for {url}.",
            hint=f"The file may have moved. Put it at {target} by hand; 'suffuse data verify' checks it.",
        ) from err
    except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as err:
        reason = getattr(err, "reason", None) or err
        raise DataError(
            f"cannot fetch {target.name} from {urllib.parse.urlsplit(url).netloc}: {reason}.",
            hint=f"Check the connection and run again, or put the file at {target} by hand.",
        ) from err
    except OSError as err:
        said = "the disk is full" if err.errno == errno.ENOSPC else (err.strerror or str(err))
        raise DataError(
            f"cannot write {part}: {said}.",
            hint="Choose another folder with --data-dir; what has come so far is kept.",
        ) from err


def _receive(
    url: str, part: Path, have: int, *, size_bytes: int, timeout_s: float, progress: Progress
) -> None:
    """Append to `part` what is missing after its first `have` bytes."""
    # "identity": a compressed transfer would have other bytes than the file.
    headers = {"User-Agent": "suffuse", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        answer = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout_s)
    except urllib.error.HTTPError as err:
        if err.code != 416 or not have:
            raise
        # The server says the file ends before our first missing byte: what we have is not this file.
        part.unlink()
        return _receive(url, part, 0, size_bytes=size_bytes, timeout_s=timeout_s, progress=progress)
    with answer:
        resumed = answer.status == 206 and _first_byte(answer.headers.get("Content-Range")) == have
        done = have if resumed else 0
        with part.open("ab" if resumed else "wb") as stream:
            progress(part.stem, done, size_bytes)
            while chunk := answer.read(CHUNK_BYTES):
                done += len(chunk)
                if done > size_bytes:
                    break
                stream.write(chunk)
                progress(part.stem, done, size_bytes)
    if done > size_bytes:
        part.unlink()
        raise DataError(
            f"{url} is longer than the {size_bytes} bytes of its card; nothing was kept.", hint=_CHANGED
        )
    if done < size_bytes:
        raise DataError(
            f"the server stopped after {done} of {size_bytes} bytes of {part.stem}.",
            hint="Run the same command again: it continues where it stopped.",
        )
    return None


def _first_byte(content_range: str | None) -> int | None:
    """First byte position of a `Content-Range: bytes 100-199/200` header."""
    match = re.match(r"bytes (\d+)-", content_range or "")
    return int(match[1]) if match else None


def _accept(part: Path, target: Path, url: str, *, sha256: str) -> None:
    """Give a complete `part` its final name when its checksum is right; remove it otherwise."""
    found = sha256_of(part)
    if found != sha256:
        part.unlink()
        raise DataError(
            f"{url} has SHA-256 {found[:12]}..., expected {sha256[:12]}...; nothing was kept.", hint=_CHANGED
        )
    if target.exists():
        raise DataError(
            f"{target} appeared meanwhile; nothing was overwritten.", hint=f"The download is {part}."
        )
    part.replace(target)


_CHANGED = (
    "Fetch again in case the transfer was damaged; if it stays so, the source is not what the card says."
)
