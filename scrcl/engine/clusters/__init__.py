"""Ways to the final clusters, a file each, and what is known of a clustering: its tree, how sure, by batch."""
