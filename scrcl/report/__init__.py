"""The report: facts to figures, maps and the HTML page. It does not depend on the engine."""
