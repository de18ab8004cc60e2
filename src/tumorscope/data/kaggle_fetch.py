"""A public set from Kaggle, by Kaggle's own library."""

import logging
import os
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tumorscope.data.http_fetch import network_reason
from tumorscope.errors import DownloadError
from tumorscope.storage import output_error


def fetch_dataset(handle: str, cache: Path) -> Path:
    """Fetch a public set with kagglehub into a cache folder and return where in it the set lies; needs no login.

    kagglehub resumes only in its cache, not with `output_dir`, so its cache is pointed at a folder of ours. It sends no usage
    statistics, only its version, and the user's token where one is stored. What notebooks of Kaggle and Colab mount instead of a
    download is read-only, and therefore switched off.

    Raises:
        DownloadError: kagglehub is not installed, or Kaggle cannot be reached or sent something else.
        OutputError: The place cannot be written or the disk is full.
    """
    try:
        import kagglehub
    except ImportError as error:
        raise DownloadError(f"{handle}: fetching from Kaggle needs kagglehub: pip install 'tumorscope[kaggle]'.") from error
    from kagglehub.exceptions import DataCorruptionError
    from requests.exceptions import RequestException

    logging.getLogger("kagglehub").setLevel(logging.WARNING)
    try:
        with _environment(KAGGLEHUB_CACHE=str(cache), DISABLE_KAGGLE_CACHE="1", DISABLE_COLAB_CACHE="1"):
            return Path(kagglehub.dataset_download(handle))
    except RequestException as error:
        raise DownloadError(f"{handle} on Kaggle: {network_reason(error)}.") from error
    except (DataCorruptionError, ValueError, zipfile.BadZipFile, tarfile.TarError) as error:
        reason = " ".join(str(error).split())
        raise DownloadError(f"{handle} on Kaggle: what came is not what Kaggle publishes ({reason}).") from error
    except OSError as error:
        raise output_error(cache, error, option="--home") from error


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
