"""`tumorscope data`: which public sets there are, and getting one; everything heavy is imported inside the verbs."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="data",
    help="Public data sets: which there are, under which licence, and getting one. Their images are their authors', not ours.",
    no_args_is_help=True,
)

HomeOption = Annotated[
    Path | None, typer.Option(help="Folder for data; without it $TUMORSCOPE_HOME, else the platform's folder for data.")
]


@app.command(name="list")
def list_sets(home: HomeOption = None) -> None:
    """List the public sets, their licences, and where those lie that are here already."""
    from tumorscope.data.download import find_fetched
    from tumorscope.data.home import default_home
    from tumorscope.data.public_sets import PUBLIC_SETS

    place = home or default_home()
    for public in PUBLIC_SETS:
        fetched = find_fetched(public, place)
        count = f"{public.images:,} images, " if public.images else ""
        typer.echo(f"{public.name:<12}{public.title}")
        typer.echo(f"{'':<12}{count}{', '.join(public.classes)}; {public.layout}")
        typer.echo(f"{'':<12}licence: {public.licence}")
        typer.echo(f"{'':<12}{f'here: {fetched}' if fetched else f'not here; tumorscope data get {public.name}'}")


@app.command(name="get")
def get_set(
    name: Annotated[str, typer.Argument(help="Name of a public set: see `tumorscope data list`.")], home: HomeOption = None
) -> None:
    """Fetch a public set, check it and unpack it; the same command goes on with a download that was broken off."""
    from tumorscope.apps.console import Reporter
    from tumorscope.data.download import get
    from tumorscope.data.home import default_home
    from tumorscope.data.public_sets import parse_set

    public, place = parse_set(name), home or default_home()
    reporter = Reporter()
    reporter.say(f"{public.title}: {public.page}\nLicence: {public.licence}\nCite: {public.citation}")
    for caveat in public.caveats:
        reporter.say(f"Known: {caveat}")
    with reporter.counting(f"fetch {public.name} (MB)") as progress:
        path = get(public, place, progress=progress)
    typer.echo(path)
    place_of_set = shlex.quote(str(path))
    reporter.say(f"Next: tumorscope index {place_of_set}, or tumorscope audit {place_of_set}")


def named_source(path: Path) -> Path:
    """Return a path that exists as it is, and for the name of a public set where its fetched copy lies."""
    from tumorscope.data.download import find_source
    from tumorscope.data.home import default_home

    return find_source(path, default_home())
