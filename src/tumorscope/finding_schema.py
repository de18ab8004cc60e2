"""What the JSON of a finding holds, as types that a schema is made of."""

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NotRequired

from typing_extensions import TypedDict  # pydantic wants it before Python 3.12

from tumorscope.errors import FindingError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

SCHEMA_VERSION = 1


class ModelJson(TypedDict):
    """Which model answered; `calibrated` says whether its probabilities were fitted on images that no training had seen."""

    name: str
    weights_sha256: str
    data_fingerprint: str
    calibrated: bool


class MapJson(TypedDict):
    """Where the model looked: method, the label that the map explains, the map's highest value, and its place on the scan.

    `peak` is (row, column) in pixels of the scan, pixel centres at whole numbers, or null for a map that is the same everywhere.
    `values` is there on request: float32, little-endian, row by row, base64, on the scan's own grid.
    """

    method: str
    label: str
    highest: float
    peak: tuple[float, float] | None
    values: NotRequired[str]


class FindingJson(TypedDict):
    """All that is said about one scan.

    `path` is the file, or item of a file, as it was given; `sha256` the digest of the scan's type, shape and pixels; `shape` its
    rows and columns; `spacing_mm` the distance of rows and columns. `prediction_set` is null where the model has none, likewise
    `familiarity`; `refusal` says why a scan is refused, or is null. `framing` is the part of the scan that the network was shown.
    """

    schema_version: int
    disclaimer: str
    path: str
    sha256: str
    shape: tuple[int, int]
    spacing_mm: tuple[float, float] | None
    probabilities: dict[str, float]
    most_probable: str
    prediction_set: list[str] | None
    recommended: str
    familiarity: float | None
    refused: bool
    refusal: str | None
    heatmap: MapJson
    model: ModelJson
    preprocessing: dict[str, Any]
    framing: dict[str, int]
    versions: dict[str, str]
    warnings: list[str]
    files: dict[str, str]


def finding_schema() -> dict[str, Any]:
    """Return the JSON schema of a finding.

    Source:
        JSON Schema, draft 2020-12, https://json-schema.org/draft/2020-12
    """
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_adapter().json_schema()}


def checked_finding(content: object) -> FindingJson:
    """Return parsed JSON as a finding's, if it is one.

    Raises:
        FindingError: It is of another version, or not what `finding_schema` describes.
    """
    from pydantic import ValidationError

    version = content.get("schema_version") if isinstance(content, dict) else None
    if version != SCHEMA_VERSION:
        raise FindingError(
            f"not a finding of schema version {SCHEMA_VERSION}: version {version}. Read it with the Tumorscope that wrote it."
        )
    try:
        return _adapter().validate_json(json.dumps(content), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise FindingError(f"not a finding: {where}: {first['msg']}. docs/finding.schema.json says what is needed.") from error


@lru_cache(maxsize=1)
def _adapter() -> "TypeAdapter[FindingJson]":
    from pydantic import TypeAdapter

    return TypeAdapter(FindingJson)
