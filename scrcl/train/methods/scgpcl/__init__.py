"""scGPCL (Bioinformatics 39(6) btad342) as a method."""
