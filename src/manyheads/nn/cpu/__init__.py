"""What only a CPU needs to be fast. Every file here can be skipped when reading how the model works."""
