"""Durable and plain stores of the committed state behind one interface."""
