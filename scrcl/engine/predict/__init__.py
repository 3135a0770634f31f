"""New cells among those of a finished run: its genes, components, encoders and clusters, none of them changed."""
