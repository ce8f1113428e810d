"""Attacks on the rules that reviews before the first release thought of, each tried against the real core.

Two reviews: findings F1 to F23, then R1 to R17 against the rules as revised. A test shows the attack failing or, where
the docs state a limit, what the attack yields. Each module's docstring maps findings to tests.

Not here, because they are about programs around the chain: F12 (labels in public images; a stated limit), R2 (image
bombs), R12 (holes of the sandbox), R15's order of evaluation; see the tests of sandbox and worker.
"""
