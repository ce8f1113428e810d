"""Attacks on the rules that reviews before the first release thought of, each tried against the real core.

Two reviews: findings F1 to F23, then R1 to R17 against the rules as revised. A test shows the attack failing or, where
the docs state a limit, what the attack yields. Each module's docstring maps findings to tests; `test_findings.py` asks
that none is missing and says which tests of sandbox and worker answer those about programs around the chain.
"""
