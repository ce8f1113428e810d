"""`make bench`: what this machine can do, measured side by side in one run. See docs/benchmarks.md."""
