"""Set-up: what the project needs on a machine, and the services that its demo and its tests use.

Standard library only: it runs before the project's Python environment exists.
"""
