"""``python -m medfs`` is the command ``medfs``."""

from medfs.cli.main import main

if __name__ == "__main__":
    main()
