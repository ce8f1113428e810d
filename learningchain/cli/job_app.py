"""The group `lc job`; its commands are in the modules beside."""

from learningchain.cli.command import make_group

app = make_group("Jobs: have a model trained, watch the race, fetch the model.")
