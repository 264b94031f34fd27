"""What one training step needs: the guard against non-finite losses, gradients, memory."""
