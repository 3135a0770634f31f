"""Linear algebra on one thread, where a result must not depend on how many there are."""

from __future__ import annotations

from scrcl.io.threads import one_blas_thread

__all__ = ["one_blas_thread"]
