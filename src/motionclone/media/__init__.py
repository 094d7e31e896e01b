"""Files of pictures and videos: what is read from them, and what is written."""
