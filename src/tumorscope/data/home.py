"""Where Tumorscope keeps what is the user's: fetched sets, and the secret that stands between patients and their digests."""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from tumorscope.errors import UsageError
from tumorscope.storage import output_error

HOME_VARIABLE = "TUMORSCOPE_HOME"
SALT_FILE = "salt"

_SALT_BYTES = 32


def default_home() -> Path:
    """Return where Tumorscope keeps data: `$TUMORSCOPE_HOME`, else the platform's folder for a program's data."""
    from platformdirs import user_data_path

    chosen = os.environ.get(HOME_VARIABLE)
    return Path(chosen).expanduser() if chosen else user_data_path("tumorscope", appauthor=False)


def installation_salt() -> bytes:
    """Return the secret that names of patients are made with, drawn at the first call and kept for this user alone.

    The same patient has the same name as long as the file `salt` of `default_home` stays; without it nobody can find the
    identifier by trying.

    Raises:
        OutputError: It cannot be kept.
        UsageError: The file that is there is none.
    """
    path = default_home() / SALT_FILE
    try:
        if not path.exists():
            _draw(path)
        salt = path.read_bytes()
    except OSError as error:
        raise output_error(path, error) from error
    if len(salt) != _SALT_BYTES:
        raise UsageError(f"{path}: {len(salt)} bytes instead of {_SALT_BYTES}. Restore it; a new one gives patients new names.")
    return salt


def _draw(path: Path) -> None:
    """Put a new salt in its place: whole or not at all, and never over one that another program has put there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn = path.with_name(f"{SALT_FILE}.{os.getpid()}.part")
    drawn.touch(mode=0o600)
    try:
        drawn.write_bytes(secrets.token_bytes(_SALT_BYTES))
        with suppress(FileExistsError):
            os.link(drawn, path)
    finally:
        drawn.unlink()
