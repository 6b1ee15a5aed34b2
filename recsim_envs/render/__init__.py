"""One session, to look at: its log, and the terminal's and the picture's drawing of it."""

from pathlib import Path

LOOK = Path(__file__).with_name("look.css")
"""The style sheet of all HTML pages."""
