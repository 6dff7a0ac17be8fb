"""``python -m client.cli``: the same as the command ``louver``."""

from client.cli import main

main()
