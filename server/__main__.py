"""``python -m server`` is ``louverd``. Nothing else may live here."""

from server.cli import main

if __name__ == "__main__":
    main()
