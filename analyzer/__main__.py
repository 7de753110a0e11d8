"""`python -m analyzer` is `serin`."""

from analyzer.cli import main

if __name__ == "__main__":
    main()
