"""``python -m bandmaster.kernel`` is the program ``bandmaster``."""

from bandmaster.kernel.cli import main

main()
