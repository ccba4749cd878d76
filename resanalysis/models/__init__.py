"""The papers' architectures, and how a state dict is told to be one of them."""
