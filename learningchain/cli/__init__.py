"""The command line `lc`. Groups of commands are loaded when they are used."""
