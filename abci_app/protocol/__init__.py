"""The rules of LearningChain: a pure function from committed state and a block to writes, events and results.

Nothing here reads a clock, draws randomness, does I/O or logs; integers only.
"""
