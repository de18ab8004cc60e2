"""The page of one finding: what a notebook shows of it, as a file of its own."""

import html

from tumorscope.finding import Finding

_STYLE = "body{font:16px/1.5 system-ui,sans-serif;margin:2rem;max-width:60rem}td,th{padding:.2rem 1rem .2rem 0;text-align:left}"


def finding_page(finding: Finding) -> str:
    """Return a self-contained page that runs nothing and loads nothing."""
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}">'
        f"<title>Tumorscope: {html.escape(finding.path)}</title><style>{_STYLE}</style></head><body>{finding._repr_html_()}"
        "</body></html>\n"
    )
