"""`lc job`: all commands about jobs."""

from learningchain.cli import job_announce, job_manage, job_model, job_submit, job_view, job_watch
from learningchain.cli.job_app import app

__all__ = ["app", "job_announce", "job_manage", "job_model", "job_submit", "job_view", "job_watch"]
