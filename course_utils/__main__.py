"""Lesson 11: the course as a command, `python -m course_utils`."""

from course_utils.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
