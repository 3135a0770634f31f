"""The report: marker genes, figures and the HTML page. It does not depend on the engine."""
