"""Worker: follows the chain, trains, evaluates, announces, reveals and checks."""
