"""A public set to a folder of the user's: fetched, checked, unpacked."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tumorscope.data.http_fetch import fetch_file
from tumorscope.data.kaggle_fetch import fetch_dataset
from tumorscope.data.public_sets import PublicSet, find_set
from tumorscope.data.unpacking import unpack
from tumorscope.errors import DownloadError, SourceError
from tumorscope.storage import output_error, write_atomically

Progress = Callable[[int, int], None]
KaggleFetch = Callable[[str, Path], Path]


def find_fetched(public: PublicSet, home: Path) -> Path | None:
    """Return what `index_source` takes of a set that was fetched whole, or None when it was not."""
    folder = _folder(public, home)
    entry = _entry(public, folder)
    return entry if (folder / "source.json").is_file() and entry.exists() else None


def find_source(path: Path, home: Path) -> Path:
    """Return a path that exists as it is, and the place of a fetched set for the name of one.

    Raises:
        SourceError: It is the name of a set that was not fetched.
    """
    public = None if path.exists() or len(path.parts) != 1 else find_set(path.name)
    if public is None:
        return path
    fetched = find_fetched(public, home)
    if fetched is None:
        raise SourceError(
            f"{path}: no such file or folder, and the public set of this name is not in {home}. "
            f"Fetch it with `tumorscope data get {public.name}`."
        )
    return fetched


def by_hand(public: PublicSet, home: Path) -> str:
    """Return how a person places a set without this program opening a connection."""
    what = " ".join(file.name for file in public.files) or "its ZIP file"
    return (
        f"By hand: open {public.page} in a browser, save {what} into {_folder(public, home) / 'downloads'} and give the same "
        "command again."
    )


def get(public: PublicSet, home: Path, *, progress: Progress | None = None, kaggle: KaggleFetch | None = None) -> Path:
    """Fetch a set unless it is there, and return what `index_source` takes.

    ZIP files that a person placed in `downloads` are used instead of Kaggle. Files with a published checksum are checked, whoever
    placed them. What was fetched before a failure is kept, and the same call goes on from there.

    Args:
        public: What to fetch.
        home: Folder that the set's own folder, `data/NAME`, lies in.
        progress: Called with (done, all) in megabytes; not for Kaggle, whose library draws its own bar on standard error.
        kaggle: Fetches a handle into a cache folder and returns where it lies; None takes kagglehub.

    Raises:
        DownloadError: The set cannot be fetched, or what came is not what the archive publishes.
        SourceError: An archive is broken or would write outside its folder.
        OutputError: The place cannot be written or the disk is full.
    """
    there = find_fetched(public, home)
    if there is not None:
        return there
    folder = _folder(public, home)
    images = folder / "images"
    if not images.exists():
        try:
            (folder / "downloads").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise output_error(folder, error, option="--home") from error
        placed = sorted((folder / "downloads").glob("*.zip"))
        if public.files:
            unpack(_fetch_files(public, home, progress), images)
        elif placed:
            unpack(placed, images)
        else:
            _fetch_kaggle(public, home, kaggle or fetch_dataset)
    if public.table:
        _write_table(public, folder)
    write_atomically(folder / "source.json", json.dumps(_provenance(public), indent=1) + "\n")
    return _entry(public, folder)


def _folder(public: PublicSet, home: Path) -> Path:
    return home / "data" / public.name


def _entry(public: PublicSet, folder: Path) -> Path:
    return folder / ("images.csv" if public.table else "images")


def _provenance(public: PublicSet) -> dict[str, Any]:
    files = {file.name: f"md5:{file.md5}" for file in public.files}
    origin = {"name": public.name, "title": public.title, "page": public.page, "handle": public.handle, "files": files}
    return {**origin, "licence": public.licence, "citation": public.citation}


def _fetch_files(public: PublicSet, home: Path, progress: Progress | None) -> list[Path]:
    """Return the files of a set, each with the right checksum; `pooch` leaves those alone that have it already."""
    downloads = _folder(public, home) / "downloads"
    total = sum(file.size for file in public.files)
    done, paths = 0, []
    for file in public.files:

        def tell(received: int, before: int = done) -> None:
            if progress is not None:
                progress((before + received) // 10**6, max(1, total // 10**6))

        paths.append(fetch_file(file, downloads, tell, help_text=by_hand(public, home)))
        done += file.size
        tell(file.size, done - file.size)
    return paths


def _fetch_kaggle(public: PublicSet, home: Path, fetch: KaggleFetch) -> None:
    """Let Kaggle's library fetch a set into a cache inside the set's folder, then move it where it belongs."""
    folder = _folder(public, home)
    cache = folder / "downloads" / "kagglehub"
    try:
        found = fetch(public.handle, cache)
    except DownloadError as error:
        raise DownloadError(f"{error} {by_hand(public, home)}") from error
    try:
        shutil.move(found, folder / "images")
    except OSError as error:
        raise output_error(folder, error, option="--home") from error
    shutil.rmtree(cache, ignore_errors=True)


def _write_table(public: PublicSet, folder: Path) -> None:
    """Write the CSV that names the images of the folders that a label fits."""
    from tumorscope.data.decode import IMAGE_SUFFIXES

    label_of = dict(public.table)
    found = sorted(path for path in (folder / "images").rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    rows = [
        f'"{path.relative_to(folder).as_posix()}",{label_of[path.parent.name]}' for path in found if path.parent.name in label_of
    ]
    if not rows:
        wanted = " or ".join(label_of)
        raise SourceError(f"{folder / 'images'}: no images in a folder called {wanted}. Delete {folder} and fetch the set again.")
    write_atomically(folder / "images.csv", "\n".join(["path,label", *rows]) + "\n")
