"""A whole network on this machine: validators, each with a checking worker, and training workers."""
