"""The studio: a web page where a person makes a video by looking. Workers, a folder of jobs, a page over both."""
