import errno
import gc
import hashlib
import io
import json
import os
import re
import socket
import sys
import threading
import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tumorscope.data import download
from tumorscope.data.download import find_fetched, find_source, get
from tumorscope.data.home import default_home
from tumorscope.data.public_sets import PublicFile, PublicSet, parse_set
from tumorscope.data.sources import index_source
from tumorscope.errors import DownloadError, OutputError, SourceError
from tumorscope.labels import LABELS


def zipped(*entries: tuple[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return content.getvalue()


def png(grey: int) -> bytes:
    content = io.BytesIO()
    Image.fromarray(np.full((8, 8), grey, dtype=np.uint8)).save(content, "PNG")
    return content.getvalue()


CLASS_FOLDERS = zipped(*((f"set/Testing/{label}/{index}.png", png(index)) for index, label in enumerate(LABELS)))
NUMBERS = zipped(("numbers.bin", np.random.default_rng(0).integers(0, 256, 3_000_000).astype(np.uint8).tobytes()))


@dataclass
class Server:
    """What a server on this machine sends, and what it was asked for."""

    address: str
    content: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    shifted: bool = False
    ends_after: int | None = None
    asked: list[tuple[str, str]] = field(default_factory=list)


def handler_of(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range", "")
            server.asked.append((self.path, wanted))
            if self.path not in server.content:
                self.send_error(404)
                return
            whole = server.content[self.path]
            start = int(re.findall(r"\d+", wanted)[0]) if wanted and server.ranges else 0
            if start >= len(whole):
                self.send_error(416)
                return
            start = start + 1 if server.shifted and start else start
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(whole) - 1}/{len(whole)}")
            if server.ranges:
                self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Type", "application/zip")
            self.send_header("Content-Length", str(len(whole) - start))
            self.end_headers()
            self.wfile.write(whole[start : server.ends_after])

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def log_message(self, *_: object) -> None:
            return

    return Handler


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    state = Server("")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler_of(state)) as listening:
        state.address = f"http://127.0.0.1:{listening.server_port}"
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        yield state
        listening.shutdown()
        thread.join()


def served(server: Server, name: str, content: bytes) -> PublicFile:
    server.content[f"/{name}"] = content
    return PublicFile(name, f"{server.address}/{name}", len(content), hashlib.md5(content).hexdigest())


def set_of(*files: PublicFile) -> PublicSet:
    return replace(parse_set("cheng"), files=files)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_whole_set_is_fetched_checked_unpacked_and_can_be_indexed(server, tmp_path):
    public = set_of(served(server, "a.zip", CLASS_FOLDERS), served(server, "b.zip", zipped(("set/README.txt", b"x"))))
    path = get(public, tmp_path)
    assert path == tmp_path / "data" / "cheng" / "images"
    assert index_source(path).counts("test") == dict.fromkeys(LABELS, 1)
    assert names(path.parent / "downloads") == ["a.zip", "b.zip"]
    assert names(path.parent) == ["downloads", "images", "source.json"]
    source = json.loads((path.parent / "source.json").read_text())
    assert source["licence"] == "CC BY 4.0"
    assert source["files"]["a.zip"] == f"md5:{hashlib.md5(CLASS_FOLDERS).hexdigest()}"
    assert find_fetched(public, tmp_path) == path


def test_a_set_that_is_there_asks_the_server_for_nothing(server, tmp_path):
    public = set_of(served(server, "a.zip", CLASS_FOLDERS))
    first = get(public, tmp_path)
    server.asked.clear()
    assert get(public, tmp_path) == first
    assert server.asked == []


def test_progress_is_told_in_megabytes_and_ends_with_all_of_them(server, tmp_path):
    told = []
    public = set_of(served(server, "a.zip", NUMBERS), served(server, "b.zip", zipped(("other.bin", bytes(2_000_000)))))
    get(public, tmp_path, progress=lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert told[-1] == (5, 5)


def test_files_that_are_complete_are_not_fetched_again(server, tmp_path):
    public = set_of(served(server, "a.zip", CLASS_FOLDERS), served(server, "b.zip", NUMBERS))
    del server.content["/b.zip"]
    with pytest.raises(DownloadError, match="the server answers 404"):
        get(public, tmp_path)
    assert find_fetched(public, tmp_path) is None
    served(server, "b.zip", NUMBERS)
    server.asked.clear()
    get(public, tmp_path)
    assert server.asked == [("/b.zip", "")]


def test_files_placed_by_hand_are_taken_when_their_checksum_is_right(server, tmp_path):
    public = set_of(served(server, "a.zip", CLASS_FOLDERS))
    downloads = tmp_path / "data" / "cheng" / "downloads"
    downloads.mkdir(parents=True)
    (downloads / "a.zip").write_bytes(CLASS_FOLDERS)
    assert get(public, tmp_path).is_dir()
    assert server.asked == []


def test_a_broken_off_download_goes_on_where_it_ended(server, tmp_path):
    public = set_of(served(server, "a.zip", NUMBERS))
    server.ends_after = 2_000_000
    with pytest.raises(DownloadError, match="broke off; what has come is kept, and the same command goes on"):
        get(public, tmp_path)
    downloads = tmp_path / "data" / "cheng" / "downloads"
    assert names(downloads) == ["a.zip.part"]
    come = (downloads / "a.zip.part").stat().st_size
    assert 0 < come <= 2_000_000
    server.ends_after = None
    get(public, tmp_path)
    assert server.asked[-1] == ("/a.zip", f"bytes={come}-")
    assert names(downloads) == ["a.zip"]
    assert (downloads / "a.zip").read_bytes() == NUMBERS


@pytest.mark.parametrize("habit", [{"ranges": False}, {"shifted": True}])
def test_a_server_that_cannot_go_on_is_asked_for_the_whole_file(server, tmp_path, habit):
    """One ignores the range, one sends another range: the bytes are never glued to what is there."""
    public = set_of(served(server, "a.zip", NUMBERS))
    downloads = tmp_path / "data" / "cheng" / "downloads"
    downloads.mkdir(parents=True)
    (downloads / "a.zip.part").write_bytes(NUMBERS[:1000])
    for name, value in habit.items():
        setattr(server, name, value)
    get(public, tmp_path)
    assert server.asked[0] == ("/a.zip", "bytes=1000-")
    assert (downloads / "a.zip").read_bytes() == NUMBERS


def test_a_partial_file_of_full_length_is_only_checked(server, tmp_path):
    public = set_of(served(server, "a.zip", CLASS_FOLDERS))
    downloads = tmp_path / "data" / "cheng" / "downloads"
    downloads.mkdir(parents=True)
    (downloads / "a.zip.part").write_bytes(CLASS_FOLDERS)
    get(public, tmp_path)
    assert server.asked == []


@pytest.mark.parametrize("wrong", [NUMBERS[:-1] + b"\x01", NUMBERS + b"more"])
def test_a_corrupted_file_is_thrown_away_and_never_stored_under_its_name(server, tmp_path, wrong):
    public = set_of(served(server, "a.zip", NUMBERS))
    server.content["/a.zip"] = wrong
    with pytest.raises(DownloadError, match=r"a.zip: what http://.* sent is not the published file: its MD5 is not [0-9a-f]{32}"):
        get(public, tmp_path)
    assert names(tmp_path / "data" / "cheng" / "downloads") == []
    assert find_fetched(public, tmp_path) is None


def test_a_file_that_shrank_on_the_server_does_not_hold_up_later_calls(server, tmp_path):
    public = set_of(served(server, "a.zip", NUMBERS))
    downloads = tmp_path / "data" / "cheng" / "downloads"
    downloads.mkdir(parents=True)
    (downloads / "a.zip.part").write_bytes(NUMBERS[:2000])
    server.content["/a.zip"] = NUMBERS[:100]
    with pytest.raises(DownloadError, match="broke off"):
        get(public, tmp_path)
    assert [wanted for _, wanted in server.asked] == ["bytes=2000-", ""]
    assert (downloads / "a.zip.part").read_bytes() == NUMBERS[:100]


def test_without_a_network_the_error_says_how_to_place_the_files_by_hand(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    public = set_of(PublicFile("a.zip", f"{address}/a.zip", 10, "0" * 32))
    with pytest.raises(DownloadError) as caught:
        get(public, tmp_path)
    message = str(caught.value)
    assert "the server cannot be reached" in message
    assert f"open {public.page} in a browser, save a.zip into {tmp_path / 'data' / 'cheng' / 'downloads'}" in message
    assert "\n" not in message


def test_an_archive_with_a_way_out_is_refused_whole(server, tmp_path):
    public = set_of(served(server, "a.zip", zipped(("good.txt", b"x"), ("../evil", b"boo"))))
    with pytest.raises(SourceError, match=r"'\.\./evil' would lie outside"):
        get(public, tmp_path)
    assert not list(tmp_path.rglob("evil"))
    assert find_fetched(public, tmp_path) is None


def test_a_full_disk_while_fetching_keeps_what_has_come(server, tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    public = set_of(served(server, "a.zip", NUMBERS))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(OutputError, match="the disk is full"):
            get(public, tmp_path)
    assert names(tmp_path / "data" / "cheng" / "downloads") == ["a.zip.part"]
    assert get(public, tmp_path).is_dir()


def test_a_place_that_cannot_be_written_is_named_with_its_option(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="Choose another --home"):
        get(parse_set("cheng"), tmp_path / "file")


def kaggle_of(tmp_path: Path, content: bytes = CLASS_FOLDERS) -> download.KaggleFetch:
    def fetch(handle: str, cache: Path) -> Path:
        place = cache / "datasets" / handle
        place.mkdir(parents=True)
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            archive.extractall(place)
        return place

    return fetch


def test_what_kaggle_fetched_lies_where_the_other_sets_lie(tmp_path):
    public = parse_set("nickparvar")
    path = get(public, tmp_path, kaggle=kaggle_of(tmp_path))
    assert path == tmp_path / "data" / "nickparvar" / "images"
    assert index_source(path).counts("test") == dict.fromkeys(LABELS, 1)
    assert names(path.parent / "downloads") == []
    assert json.loads((path.parent / "source.json").read_text())["handle"] == public.handle


def test_a_zip_placed_by_hand_is_used_instead_of_kaggle(tmp_path):
    def never(*_: object) -> Path:
        raise AssertionError

    downloads = tmp_path / "data" / "sartaj" / "downloads"
    downloads.mkdir(parents=True)
    (downloads / "archive.zip").write_bytes(CLASS_FOLDERS)
    assert index_source(get(parse_set("sartaj"), tmp_path, kaggle=never)).counts("test") == dict.fromkeys(LABELS, 1)


def test_a_set_with_folders_of_no_label_gets_a_table_of_the_others(tmp_path):
    content = zipped(
        ("no/1.png", png(1)), ("no/1, 2.png", png(2)), ("yes/y1.png", png(3)), ("pred/p.png", png(4)), ("no/a.txt", b"")
    )
    path = get(parse_set("br35h"), tmp_path, kaggle=kaggle_of(tmp_path, content))
    assert path.name == "images.csv"
    manifest = index_source(path)
    assert [(record.path, record.label) for record in manifest] == [
        ("images/no/1, 2.png", "notumor"),
        ("images/no/1.png", "notumor"),
    ]


def test_a_set_without_the_folders_it_should_have_is_refused(tmp_path):
    with pytest.raises(SourceError, match="no images in a folder called no"):
        get(parse_set("br35h"), tmp_path, kaggle=kaggle_of(tmp_path))
    assert find_fetched(parse_set("br35h"), tmp_path) is None


def test_kaggle_out_of_reach_is_told_with_page_and_folder(tmp_path):
    def unreachable(handle: str, _: Path) -> Path:
        raise DownloadError(f"{handle}: out of reach.")

    with pytest.raises(DownloadError) as caught:
        get(parse_set("nickparvar"), tmp_path, kaggle=unreachable)
    assert "out of reach. By hand: open https://www.kaggle.com/datasets/masoudnickparvar" in str(caught.value)
    assert str(tmp_path / "data" / "nickparvar" / "downloads") in str(caught.value)


@pytest.fixture
def kaggle_server(server, tmp_path, monkeypatch) -> Iterator[Server]:
    """A server that kagglehub takes for Kaggle, and a user without an account there.

    kagglehub never closes its answers, so their sockets are collected here, before another test is blamed for them.
    """
    pytest.importorskip("kagglehub")
    from kagglesdk import kaggle_env

    for name in [name for name in os.environ if name.startswith("KAGGLE")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "nobody"))
    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, server.address)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield server
        gc.collect()


DOWNLOAD_DATASET = "/v1/datasets.DatasetApiService/DownloadDataset"


def test_kagglehub_itself_fetches_from_a_server_and_leaves_no_trace_elsewhere(kaggle_server, tmp_path):
    kaggle_server.content[DOWNLOAD_DATASET] = CLASS_FOLDERS
    path = get(parse_set("nickparvar"), tmp_path)
    assert index_source(path).counts("test") == dict.fromkeys(LABELS, 1)
    assert names(path.parent) == ["downloads", "images", "source.json"]
    assert names(tmp_path) == ["data"]
    assert "KAGGLEHUB_CACHE" not in os.environ


def test_kagglehub_goes_on_with_what_has_come(kaggle_server, tmp_path):
    kaggle_server.content[DOWNLOAD_DATASET] = NUMBERS
    kaggle_server.ends_after = 2_000_000
    with pytest.raises(DownloadError, match=r"on Kaggle: the connection broke off.* By hand"):
        get(parse_set("nickparvar"), tmp_path)
    kaggle_server.ends_after = None
    path = get(parse_set("nickparvar"), tmp_path)
    assert re.fullmatch(r"bytes=[12]\d+-", kaggle_server.asked[-1][1])
    assert (path / "numbers.bin").stat().st_size == 3_000_000


@pytest.mark.parametrize(
    ("content", "message"), [({}, "the server answers 404"), ({DOWNLOAD_DATASET: b"<html>busy</html>"}, "Unsupported archive type")]
)
def test_what_kagglehub_cannot_use_is_told_in_one_line(kaggle_server, tmp_path, content, message):
    kaggle_server.content.update(content)
    with pytest.raises(DownloadError, match=message) as caught:
        get(parse_set("nickparvar"), tmp_path)
    assert "\n" not in str(caught.value)
    assert find_fetched(parse_set("nickparvar"), tmp_path) is None


def test_without_kagglehub_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(DownloadError, match=r"pip install 'tumorscope\[kaggle\]'.*By hand"):
        get(parse_set("nickparvar"), tmp_path)


def test_home_is_the_users_choice_or_the_platforms_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("TUMORSCOPE_HOME", "~/mri")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_home() == tmp_path / "mri"
    monkeypatch.delenv("TUMORSCOPE_HOME")
    assert default_home().name == "tumorscope"


def test_the_name_of_a_fetched_set_stands_for_its_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = get(parse_set("nickparvar"), tmp_path / "home", kaggle=kaggle_of(tmp_path))
    assert find_source(Path("nickparvar"), tmp_path / "home") == path
    (tmp_path / "nickparvar").mkdir()
    assert find_source(Path("nickparvar"), tmp_path / "home") == Path("nickparvar")


def test_the_name_of_a_set_that_is_not_there_says_how_to_fetch_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match=r"nickparvar: no such file or folder, .* `tumorscope data get nickparvar`"):
        find_source(Path("nickparvar"), tmp_path)
    assert find_source(Path("scans"), tmp_path) == Path("scans")
    assert find_source(Path("else/nickparvar"), tmp_path) == Path("else/nickparvar")


def test_the_matlab_files_of_cheng_are_read_by_the_name_of_the_set(server, tmp_path, monkeypatch, write_slice):
    monkeypatch.chdir(tmp_path)
    part = zipped(("1.mat", write_slice(tmp_path / "1.mat").read_bytes()))
    get(replace(parse_set("cheng"), files=(served(server, "a.zip", part),)), tmp_path / "home")
    (record,) = index_source(find_source(Path("cheng"), tmp_path / "home"))
    assert (record.path, record.label, record.mask) == ("1.mat", "meningioma", "1.mat")
