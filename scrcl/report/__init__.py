"""From facts to an HTML page; knows nothing of the engine."""
