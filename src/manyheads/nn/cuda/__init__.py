"""What only CUDA needs to be fast."""
