"""Agreement of scrcl and its peers with known labels."""
