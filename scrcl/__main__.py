"""``python -m scrcl`` is ``scrcl``."""

from scrcl.cli.main import main

main()
