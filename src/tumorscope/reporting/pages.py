"""What all pages share: templates that escape what they show and refuse what is missing."""

from jinja2 import Environment, PackageLoader, StrictUndefined

from tumorscope.reporting import explanation_tables
from tumorscope.reporting.explanation_sentences import model_sentences
from tumorscope.reporting.trust_sentences import trust_sentences, warning_sentences


def page_environment() -> Environment:
    """Return the environment in which every page is rendered."""
    environment = Environment(
        loader=PackageLoader("tumorscope.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "explanation_tables": explanation_tables,
        "explanation_sentences": model_sentences,
        "trust_sentences": trust_sentences,
        "trust_warnings": warning_sentences,
    }
    return environment
