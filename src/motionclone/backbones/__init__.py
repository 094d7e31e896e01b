"""One file for each family of video models: where their temporal attention lives and how they are called."""
