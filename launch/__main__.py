"""`python -m gristmill.launch`: the command line, by an interpreter that is named."""

from gristmill.launch.cli import main

main()
