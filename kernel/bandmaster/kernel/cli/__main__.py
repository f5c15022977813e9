"""``python -m bandmaster.kernel.cli``: the command line where the script isn't on the path."""

from bandmaster.kernel.cli import main

main()
