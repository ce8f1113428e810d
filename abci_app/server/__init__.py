"""The ABCI server: one application object, two transports, queries and the checks at start."""
