"""Client, wallet and command line of LearningChain: what tools, workers and test networks share."""
