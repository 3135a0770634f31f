"""Threads that wait without spinning: tests may share their cores. Set before torch is loaded."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
