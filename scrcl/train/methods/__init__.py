"""The methods, one package each, and their table."""
