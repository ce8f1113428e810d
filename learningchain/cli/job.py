"""`lc job`: all commands about jobs."""

from learningchain.cli.job_announce import announce, reveal
from learningchain.cli.job_app import app
from learningchain.cli.job_manage import cancel, raise_bounty
from learningchain.cli.job_model import model
from learningchain.cli.job_submit import submit
from learningchain.cli.job_try import try_
from learningchain.cli.job_view import list_jobs, show
from learningchain.cli.job_watch import watch

__all__ = [
    "announce",
    "app",
    "cancel",
    "list_jobs",
    "model",
    "raise_bounty",
    "reveal",
    "show",
    "submit",
    "try_",
    "watch",
]
