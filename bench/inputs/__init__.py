"""The reading side on files as people have them: one matrix in many encodings, and damaged files."""
