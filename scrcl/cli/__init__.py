"""The command line: commands, exit codes and the drawing of progress."""
