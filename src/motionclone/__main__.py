"""`python -m motionclone`, for where the command is not on the path."""

from motionclone.cli import main

if __name__ == "__main__":
    main()
