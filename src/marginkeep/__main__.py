"""Run the command line: ``python -m marginkeep``."""

from marginkeep.cli import main

if __name__ == "__main__":
    main()
