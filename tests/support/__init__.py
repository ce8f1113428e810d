"""Code that tests of several parts share."""
