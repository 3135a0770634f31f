"""Maps and orders of cells against scanpy."""
