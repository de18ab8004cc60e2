"""One file with a published checksum over HTTP, resumed where it broke off."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tumorscope.data.public_sets import PublicFile
from tumorscope.errors import DownloadError
from tumorscope.storage import output_error

if TYPE_CHECKING:
    from requests import Response

_TIMEOUT_S = (10, 60)
_CHUNK_BYTES = 2**20


def fetch_file(file: PublicFile, downloads: Path, tell: Callable[[int], None], *, help_text: str) -> Path:
    """Fetch one file with a published checksum unless it is there, going on with what an earlier call left.

    Args:
        file: What to fetch.
        downloads: Folder for it.
        tell: Called with the bytes that are here.
        help_text: What a person can do instead; ends an error.

    Raises:
        DownloadError: The server cannot be reached or sent something else.
        OutputError: The place cannot be written or the disk is full.
    """
    import pooch
    from requests.exceptions import RequestException

    pooch.get_logger().setLevel(logging.WARNING)
    try:
        downloader = _ResumingDownloader(file, downloads / f"{file.name}.part", tell)
        return Path(pooch.retrieve(file.url, f"md5:{file.md5}", fname=file.name, path=downloads, downloader=downloader))
    except RequestException as error:
        raise DownloadError(f"{file.url}: {network_reason(error)}. {help_text}") from error
    except ValueError as error:  # how pooch says that the checksum differs
        raise DownloadError(
            f"{file.name}: what {file.url} sent is not the published file: its MD5 is not {file.md5}. It was thrown away; give the "
            f"same command again. {help_text}"
        ) from error
    except OSError as error:
        raise output_error(downloads / file.name, error, option="--home") from error


class _ResumingDownloader:
    """What `pooch` calls to download; keeps what has come in a file of its own, so that a later call goes on from there."""

    def __init__(self, file: PublicFile, partial: Path, tell: Callable[[int], None]) -> None:
        self.file = file
        self.partial = partial
        self.tell = tell

    def __call__(self, url: str, output_file: str, _pooch: object) -> None:
        start = self.partial.stat().st_size if self.partial.exists() else 0
        if start > self.file.size:
            self.partial.unlink()
            start = 0
        if start < self.file.size:
            self._receive(url, start)
        self.partial.replace(output_file)

    def _receive(self, url: str, start: int) -> None:
        import requests

        # Compressed on the way, a file's bytes could not be counted.
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT_S) as response:
            goes_on = response.status_code == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {start}-")
            begin_again = start > 0 and not goes_on and response.status_code in (206, 416)
            if not begin_again:
                response.raise_for_status()
                self._write(response, start if goes_on else 0)
        if begin_again:
            self.partial.unlink()
            self._receive(url, 0)

    def _write(self, response: "Response", start: int) -> None:
        from requests.exceptions import ConnectionError as BrokenOff

        received = start
        with self.partial.open("ab" if start else "wb") as content:
            for chunk in response.iter_content(_CHUNK_BYTES):
                content.write(chunk)
                received += len(chunk)
                self.tell(min(received, self.file.size))
                if received > self.file.size:
                    break
        if received < self.file.size:
            raise BrokenOff(f"{received:,} of {self.file.size:,} bytes came")


def network_reason(error: Exception) -> str:
    """Return one short clause for what `requests` wraps in several layers."""
    from requests import exceptions

    response = getattr(error, "response", None)
    if response is not None:
        return f"the server answers {response.status_code} {response.reason}"
    if isinstance(error, exceptions.SSLError):
        return "the certificate of the server, or of a proxy before it, is not trusted here"
    if isinstance(error, exceptions.ProxyError):
        return "the proxy cannot be reached or refuses"
    if isinstance(error, exceptions.Timeout):
        return "the server does not answer in time"
    if "Max retries exceeded" in str(error):
        return "the server cannot be reached"
    return "the connection broke off; what has come is kept, and the same command goes on from there"
