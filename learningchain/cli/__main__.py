"""`python -m learningchain.cli`: the same as `lc`."""

from learningchain.cli.entry import main

main()
