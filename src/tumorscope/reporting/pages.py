"""What all pages share: templates that escape what they show and refuse what is missing."""

from jinja2 import Environment, PackageLoader, StrictUndefined


def page_environment() -> Environment:
    """Return the environment in which every page is rendered."""
    return Environment(
        loader=PackageLoader("tumorscope.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
