"""Files from the web: fetched whole or not at all, going on where a broken transfer ended; archives unpacked safely."""

from __future__ import annotations

import hashlib
import os
import shutil
import ssl
import time
import zipfile
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from tqdm import tqdm

from ecdm.data.paths import climbs_out

BLOCK = 1 << 20
TIMEOUT = 60.0
# Attempts in a row that bring nothing, and the seconds before the second one, doubled each time.
TRIES = 6
PAUSE = 1.0
AT_ONCE = 16
BROKEN = (URLError, HTTPException, ConnectionError, TimeoutError, ssl.SSLError)


def fetch(url: str, target: Path, md5: str | None = None, *, bar: bool = True) -> None:
    """Download a file, unless `target` is there already; it appears only whole and, with `md5`, verified.

    A transfer that breaks is taken up where it ended; with `md5` even by a later run, since that tells whether
    the parts fit together.
    Raises: FileNotFoundError for an address that has no such file; OSError naming the address when it cannot be
    reached or refuses; ValueError for another checksum, and then the file is removed.
    """
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    if md5 is None:
        part.unlink(missing_ok=True)
    _transfer(url, part, bar)
    if md5 is not None:
        _verify(url, part, md5)
    os.replace(part, target)


def fetch_all(files: Sequence[tuple[str, Path]], title: str) -> None:
    """Download many small files, (address, target), several at once; those that do not exist are left out.

    Raises: OSError as `fetch`; files that wait are then dropped.
    """
    waiting = [file for file in files if not file[1].exists()]
    if not waiting:
        return
    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        for _ in tqdm(pool.map(_fetch_any, waiting), total=len(waiting), desc=title, unit="file", disable=None):
            pass
    finally:
        pool.shutdown(cancel_futures=True)


def unpack(archive: Path, prefix: str, folder: Path) -> None:
    """Unpack the files of a zip archive whose names start with `prefix`, all of one folder, into `folder`.

    Raises: ValueError naming the archive when it is damaged, has no such file, or one whose name leaves the folder.
    """
    try:
        with zipfile.ZipFile(archive) as content:
            members = [one for one in content.infolist() if one.filename.startswith(prefix) and not one.is_dir()]
            if not members:
                raise ValueError(f"found no file {prefix}…")
            top = prefix.rpartition("/")[0] + "/"
            targets = [_placed(folder, member.filename.removeprefix(top)) for member in members]
            bar = tqdm(zip(members, targets, strict=True), total=len(members), desc=archive.name, disable=None)
            for member, target in bar:
                target.parent.mkdir(parents=True, exist_ok=True)
                with content.open(member) as source, target.open("wb") as file:
                    shutil.copyfileobj(source, file)
    except (zipfile.BadZipFile, zlib.error, ValueError) as error:
        raise ValueError(f"{archive}: {error}") from error


def _placed(folder: Path, name: str) -> Path:
    if climbs_out(name):
        raise ValueError(f"file {name!r}: expected a path inside the folder")
    return folder / name


def _fetch_any(file: tuple[str, Path]) -> None:
    with suppress(FileNotFoundError):
        fetch(*file, bar=False)


def _transfer(url: str, part: Path, bar: bool) -> None:
    """Bring all of the file to `part`, in as many attempts as it takes as long as they get further."""
    fruitless, tag = 0, ""
    while True:
        before = _size(part)
        try:
            with _opened(url, before, tag) as response:
                tag = _strong(response.headers.get("ETag"))
                if _received(response, part, before, bar):
                    return
            problem = "the connection broke off"
        except HTTPError as error:
            if error.code == 416:
                # Nothing is left to ask for: whether it is the right file, the checksum says.
                return
            _refuse(url, error)
            problem = str(error)
        except BROKEN as error:
            problem = str(error)
        fruitless = 0 if _size(part) > before else fruitless + 1
        if fruitless == TRIES:
            raise OSError(f"{url}: {problem}; given up after {TRIES} attempts")
        time.sleep(PAUSE * 2**fruitless)


def _opened(url: str, start: int, tag: str) -> Any:
    headers = {"Range": f"bytes={start}-"} if start else {}
    if start and tag:
        headers["If-Range"] = tag
    return urlopen(Request(url, headers=headers), timeout=TIMEOUT)


def _received(response: Any, part: Path, start: int, bar: bool) -> bool:
    """Append what the server sends, or begin anew where it sends the whole file; whether all of it came."""
    resumed = response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {start}-")
    if response.status == 206 and not resumed:
        raise URLError(f"asked for bytes from {start} on, found {response.headers.get('Content-Range')}")
    start = start if resumed else 0
    length = response.headers.get("Content-Length")
    total = None if length is None else start + int(length)
    title, disable = part.name[1:].removesuffix(".part"), None if bar else True
    progress = tqdm(total=total, initial=start, desc=title, unit="B", unit_scale=True, disable=disable)
    with part.open("ab" if resumed else "wb") as file, progress:
        while block := response.read(BLOCK):
            file.write(block)
            progress.update(len(block))
    return total is None or _size(part) == total


def _refuse(url: str, error: HTTPError) -> None:
    """Raise for an answer that another attempt does not change."""
    if error.code in (404, 410):
        raise FileNotFoundError(f"{url}: {error}") from error
    if error.code < 500 and error.code not in (408, 429):
        raise OSError(f"{url}: {error}") from error


def _verify(url: str, part: Path, md5: str) -> None:
    with part.open("rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    if found != md5:
        part.unlink()
        raise ValueError(f"{url}: found MD5 {found}, expected {md5}; the file is removed, a next run fetches it anew")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _strong(tag: str | None) -> str:
    return "" if tag is None or tag.startswith("W/") else tag
