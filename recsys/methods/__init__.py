"""Everything that scores items for histories: the traditional methods, the network, the blend."""
