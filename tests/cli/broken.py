"""A group of commands that needs something that is not installed."""

import really_missing  # type: ignore[import-not-found]  # noqa: F401
