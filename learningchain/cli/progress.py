"""How far something is that takes its time, on stderr."""

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn


class ProgressBar:
    """A bar of bytes, on a terminal only."""

    def __init__(self, console: Console, size: int, transient: bool = False) -> None:
        """It is full at `size` bytes; a `transient` one leaves nothing on the screen."""
        columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn())
        self._progress = Progress(*columns, console=console, disable=not console.is_terminal, transient=transient)
        self._task = self._progress.add_task("", total=size)

    def __enter__(self) -> "ProgressBar":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Begin to draw it."""
        self._progress.start()

    def stop(self) -> None:
        """End it: the terminal is as before."""
        self._progress.stop()

    def update(self, here: int) -> None:
        """Show how many bytes are here."""
        self._progress.update(self._task, completed=here)
