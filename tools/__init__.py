"""Repository tools: set-up, generation of protobuf code. Nothing here is installed."""
