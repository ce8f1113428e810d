"""`python -m worker`: the same as `lc worker`."""

from worker.cli import app

if __name__ == "__main__":
    app(prog_name="lc worker")
