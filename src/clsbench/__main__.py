"""``python -m clsbench`` is the command ``clsbench``."""

from clsbench.cli.main import main

main()
