"""`python -m tumorscope`, the same as the command `tumorscope`."""

from tumorscope.apps.cli import main

if __name__ == "__main__":
    main()
