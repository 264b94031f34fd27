"""`python -m d2lite`: the command `d2lite`."""

from .commands import main

if __name__ == "__main__":
    main()
