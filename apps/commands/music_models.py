"""suffuse music models: what ships, and what it scores."""

import typer

from apps.options import AsJson

app = typer.Typer()


@app.command()
def models(as_json: AsJson = False) -> None:
    """List the parts that ship, and what they score; the hymns whose words ship."""
    from apps.show import show
    from domains.music.hymns import hymns
    from domains.music.weights import cards, summaries

    listed = {"models": summaries(), "hymns": [{"hymn": name} for name in hymns()]}
    show({**listed, "scores": cards()} if as_json else listed, as_json=as_json)
