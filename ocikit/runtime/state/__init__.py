"""What is written down about containers, in the format of runc: the state root, its files, what is in them."""
