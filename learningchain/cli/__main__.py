"""`python -m learningchain.cli`: the same as `lc`."""

from learningchain.cli.main import main

main()
