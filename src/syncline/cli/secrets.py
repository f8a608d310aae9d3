"""``syncline secrets``: the key that encrypts what the server's store keeps secret."""

from __future__ import annotations

import typer

__all__ = ["app"]

app = typer.Typer(help="The key that encrypts the server's stored secrets.", no_args_is_help=True)


@app.callback()
def _secrets() -> None:
    """The key that encrypts the server's stored secrets."""


@app.command("rotate")
def rotate() -> None:
    """Encrypt the stored secrets' keys anew: by a new key in the key file, or by the first of SYNCLINE_SECRET_KEY.
    Servers may run meanwhile."""
    from syncline.cli.extras import need_server_extra

    need_server_extra()
    from syncline.service.control import open_control
    from syncline.service.secrets.rotation import rotate
    from syncline.settings import load_server_settings

    control = open_control(load_server_settings())
    try:
        wrapped = rotate(control)
    finally:
        control.close()
    typer.echo(f"{wrapped} secrets are under key {control.secrets.current} now")
