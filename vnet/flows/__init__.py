"""Flow export: what the engine counts of a sample of the frames, told to a collector by IPFIX."""
