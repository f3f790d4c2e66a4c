"""`python -m idol` is `idol`."""

from idol.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
