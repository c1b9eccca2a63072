"""What only training on a CUDA device needs: overlapped copies, updates judged on the device, and memory that runs out."""
