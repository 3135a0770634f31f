"""Run ``python -m scrcl`` as the command ``scrcl``."""

from scrcl.cli.main import main

main()
