"""One session, to look at: its log, and the terminal's and the picture's drawing of it."""
