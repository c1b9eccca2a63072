"""Settings chosen by trials: other learning rates, lengths, private layers and task weights for one run file."""
