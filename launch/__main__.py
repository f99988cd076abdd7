"""`python -m gristmill.launch`: the command line, by an interpreter that is named."""

from gristmill.launch.start import main

main()
