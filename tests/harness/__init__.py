"""The reliability harnesses: each hunts one kind of fault, and was seen to catch one.

    python -m tests.harness NAME [--full] [--plant FAULT] [--seed N] [--json FILE]

The quick form runs in CI (``tests/test_harness.py``), the full form by hand. Every harness prints
one line of figures and exits with 1 if anything was wrong, or if a planted fault was missed.
"""
