"""Chunks, shards and codecs of stores."""
