"""The group `lc job`; its commands are in the modules beside."""

import typer

app = typer.Typer(
    help="Jobs: have a model trained, watch the race, fetch the model.", no_args_is_help=True, rich_markup_mode=None
)
