"""The causal CNN: layers, network and loss. Nothing here knows about files."""
