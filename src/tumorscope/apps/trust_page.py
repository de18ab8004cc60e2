"""The page “How far can you trust it?” of a run, from its finished files."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tumorscope.apps.experiment import fold_folders
from tumorscope.apps.external_sets import external_results
from tumorscope.apps.probing import REFUSAL_FILE, ROBUSTNESS_FILE
from tumorscope.apps.run_folder import RunFolder, read_content, read_json
from tumorscope.apps.trust import TRUST_FILE, trusted_models
from tumorscope.reporting.trust_report import TrustedModel, TrustPage, write_trust_page

PAGE_FILE = "trust.html"


def _first(folder: RunFolder, name: str, file: str) -> dict[str, Any] | None:
    """Content of one model's file, of the first fold that has it where there are several."""
    found = (read_content(part.model(name) / file) for part in fold_folders(folder))
    return next((content for content in found if content), None)


def write_page(folder: RunFolder) -> Path | None:
    """Write the page of every model whose promises were tested, and return its path; None where there is none."""
    names = trusted_models(folder)
    if not names:
        return None
    found = external_results(folder, names)
    models = tuple(
        TrustedModel(
            name,
            read_json(folder.model(name) / TRUST_FILE),
            {key: results[name]["trust"] for key, results in found.items() if (results.get(name) or {}).get("trust")},
            *(_first(folder, name, file) for file in (ROBUSTNESS_FILE, REFUSAL_FILE)),
        )
        for name in names
    )
    path = folder.path / PAGE_FILE
    page = TrustPage(datetime.now(UTC).isoformat(timespec="seconds"), models, synthetic=folder.state().synthetic)
    write_trust_page(page, path, {name: folder.model(name) / "figures" for name in names})
    return path
