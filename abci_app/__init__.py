"""The application behind CometBFT: the rules (`protocol`), their store (`store`) and the ABCI server (`server`)."""
