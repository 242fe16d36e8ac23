"""`lambdad demo`: events on a fresh machine, by AWS's own clients: a bucket, a schedule and a queue, and the functions that they start."""

import subprocess
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.table import Table

from lambdad.cli import demo_acts, demo_files
from lambdad.cli.demo_stage import DemoFailed, Stage


def run(*, image: Path | None, out: Path) -> int:
    """
    Run the demo in a folder.

    Args:
        image: a picture for the thumbnail; None draws one. What is no PNG needs Pillow, which is fetched if it is not installed.
        out: the folder; what an earlier demo left there is replaced.

    Returns:
        0 when everything worked.
    """
    console = Console(highlight=False)
    try:
        _play(console, image, out.absolute())
    except (DemoFailed, BotoCoreError, ClientError, OSError) as error:
        console.print(f"\n[red]The demo failed:[/red] {error}", soft_wrap=True)
        return 1
    return 0


def _play(console: Console, image: Path | None, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    layer = None
    if image is None:
        image = out / "sunrise.png"
        image.write_bytes(demo_files.draw(960, 640))
    elif demo_files.needs_pillow(image.read_bytes()):
        console.print("This picture needs Pillow.")
        try:
            layer = demo_files.pillow_layer(out / "packages")
        except subprocess.CalledProcessError as error:
            raise DemoFailed("Pillow is not installed, and pip does not get it. A picture in PNG needs none.") from error
    with Stage(console, out) as stage:
        demo_acts.thumbnails(stage, image, layer)
        demo_acts.schedule(stage)
        demo_acts.queue(stage)
        stage.title("How long it took")
        table = Table(show_header=False, box=None, padding=(0, 2))
        table.add_column(no_wrap=True)
        for what, how_long in stage.summary:
            table.add_row(what, how_long)
        console.print(table)
    console.print(f"\nStopped. Everything that was deployed is still there: lambdad up --data-dir {out / 'data'}", soft_wrap=True)
